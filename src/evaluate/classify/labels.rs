//! The superclasses of PTB-XL's recordings, in either form that they come in.
//!
//! * As published: `ptbxl_database.csv` has statements (`scp_codes`), `scp_statements.csv` the superclass of those that
//!   are diagnostic. A recording has a superclass if it has any such statement, however likely; one without any is
//!   left out (Strodthoff et al., *Deep learning for ECG analysis: benchmarks and insights from PTB-XL*, IEEE JBHI 25,
//!   2021).
//! * Scaled lead by lead: `labels.csv` has a column for each superclass, and `signals_100hz_int16.npy` holds
//!   `[record, lead, sample]`, hundredths of a standard deviation of its lead at 100 Hz. Its splits are folds: `val` is 9,
//!   `test` 10, all others are training.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use ecg::{Lead, SignalKind};
use serde::Deserialize;

use crate::evaluate::is_wanted;
use crate::evaluate::reconstruct::Moments;
use crate::evaluate::report::Excluded;
use crate::record::collection::{self, rows};
use crate::record::{Error, Record, Signal};

/// The superclasses, as PTB-XL has them.
pub const CLASSES: [&str; 5] = ["NORM", "MI", "STTC", "CD", "HYP"];

/// A sampling rate of `signals_100hz_int16.npy`, and its steps in a standard deviation.
const SCALED_HZ: f64 = 100.0;
const STEPS: f64 = 100.0;

/// A labelled recording.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Whose it is; the recording itself where nobody says.
    pub patient: String,
    /// The fold it is in.
    pub fold: Option<u8>,
    /// Which of [`CLASSES`] it has.
    pub labels: [bool; 5],
    signals: Signals,
}

#[derive(Debug, Clone)]
enum Signals {
    /// A file that [`Record::open`] takes.
    File(std::path::PathBuf),
    /// `[lead, sample]`, hundredths of a standard deviation.
    Scaled(Vec<i16>),
}

impl Case {
    /// The recording. One that was scaled lead by lead gets the usual size of each lead.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn record(&self) -> Result<Record, String> {
        match &self.signals {
            Signals::File(path) => Record::open(path).map_err(|error| error.to_string()),
            Signals::Scaled(samples) => Ok(scaled_record(&self.name, samples)),
        }
    }
}

/// The labelled recordings of `dir` in these `folds`, in all where there is none, and those of them that are left out.
///
/// # Errors
/// A folder that is in neither form, or a file that is not of its form.
pub fn cases(dir: &Path, folds: &[u8]) -> Result<(Vec<Case>, Vec<Excluded>), Error> {
    if dir.join("labels.csv").exists() {
        let mut cases = scaled(dir)?;
        cases.retain(|case| is_wanted(case.fold, folds));
        return Ok((cases, Vec::new()));
    }
    published(dir, folds)
}

/// A row of `scp_statements.csv`.
#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "")]
    name: String,
    diagnostic: Option<f64>,
    diagnostic_class: Option<String>,
}

/// A row of `ptbxl_database.csv`.
#[derive(Deserialize)]
struct Described {
    scp_codes: String,
    filename_lr: String,
    filename_hr: String,
}

fn published(dir: &Path, folds: &[u8]) -> Result<(Vec<Case>, Vec<Excluded>), Error> {
    let mut class_of = BTreeMap::new();
    for row in rows(&dir.join("scp_statements.csv"))? {
        let row: Statement = row?;
        let class = row.diagnostic_class.filter(|_| row.diagnostic == Some(1.0));
        let place = class.and_then(|class| CLASSES.iter().position(|name| *name == class));
        if let Some(place) = place {
            class_of.insert(row.name, place);
        }
    }
    let mut labels_of = BTreeMap::new();
    for row in rows(&dir.join("ptbxl_database.csv"))? {
        let row: Described = row?;
        let mut labels = [false; 5];
        for place in statements(&row.scp_codes).filter_map(|name| class_of.get(name)) {
            labels[*place] = true;
        }
        labels_of.insert(row.filename_lr, labels);
        labels_of.insert(row.filename_hr, labels);
    }
    let (mut cases, mut excluded) = (Vec::new(), Vec::new());
    let mut entries = collection::recordings(dir)?;
    entries.retain(|entry| is_wanted(entry.fold, folds));
    for entry in entries {
        let labels = labels_of.get(&entry.name).copied().unwrap_or_default();
        if labels == [false; 5] {
            excluded.push(Excluded {
                record: entry.name,
                reason: "no diagnostic statement".to_owned(),
            });
            continue;
        }
        cases.push(Case {
            patient: entry.patient.unwrap_or_else(|| entry.name.clone()),
            name: entry.name,
            fold: entry.fold,
            labels,
            signals: Signals::File(entry.path),
        });
    }
    Ok((cases, excluded))
}

/// The names in `{'NORM': 100.0, 'SR': 0.0}`.
fn statements(codes: &str) -> impl Iterator<Item = &str> {
    codes.split('\'').skip(1).step_by(2)
}

/// A row of `labels.csv`.
#[derive(Deserialize)]
#[expect(non_snake_case, reason = "the names of the columns")]
struct Labelled {
    ecg_id: String,
    NORM: u8,
    MI: u8,
    STTC: u8,
    CD: u8,
    HYP: u8,
    split: String,
}

fn scaled(dir: &Path) -> Result<Vec<Case>, Error> {
    let path = dir.join("signals_100hz_int16.npy");
    let malformed = |reason: String| Error::Malformed {
        path: path.clone(),
        reason,
    };
    let unreadable = |source| Error::Read {
        path: path.clone(),
        source,
    };
    let file = BufReader::new(File::open(&path).map_err(unreadable)?);
    let array = npyz::NpyFile::new(file).map_err(unreadable)?;
    let [n, 12, n_samples] = *array.shape() else {
        let found = format!(
            "shape {:?}, where [record, 12, sample] is needed",
            array.shape()
        );
        return Err(malformed(found));
    };
    if array.order() != npyz::Order::C {
        return Err(malformed(
            "columns first, where rows first are needed".to_owned(),
        ));
    }
    let labels: Vec<Labelled> = rows(&dir.join("labels.csv"))?.collect::<Result<_, _>>()?;
    if labels.len() as u64 != n {
        let found = format!("{n} records, where labels.csv has {}", labels.len());
        return Err(malformed(found));
    }
    let step = usize::try_from(12 * n_samples).map_err(|error| malformed(error.to_string()))?;
    let mut samples = array
        .data::<i16>()
        .map_err(|error| malformed(error.to_string()))?;
    let mut cases = Vec::new();
    for row in labels {
        let own: Result<Vec<i16>, _> = samples.by_ref().take(step).collect();
        let own = own.map_err(unreadable)?;
        let fold = [("val", 9), ("test", 10)];
        let fold = fold.iter().find(|(split, _)| row.split.contains(split));
        cases.push(Case {
            patient: row.ecg_id.clone(),
            name: row.ecg_id,
            fold: Some(fold.map_or(1, |(_, fold)| *fold)),
            labels: [row.NORM, row.MI, row.STTC, row.CD, row.HYP].map(|has| has > 0),
            signals: Signals::Scaled(own),
        });
    }
    Ok(cases)
}

fn scaled_record(name: &str, samples: &[i16]) -> Record {
    let n_samples = samples.len() / 12;
    let sizes = Moments::shipped();
    let signal = |(lead, own): (Lead, &[i16])| Signal {
        name: lead.name().to_owned(),
        kind: Some(SignalKind::Ecg(lead)),
        per_frame: 1,
        hz: SCALED_HZ,
        gain: STEPS / sizes.size(lead),
        baseline: 0,
        units: "mV".to_owned(),
        samples: own.iter().map(|z| i32::from(*z)).collect(),
    };
    let leads = Lead::TWELVE
        .into_iter()
        .zip(samples.chunks_exact(n_samples.max(1)));
    Record {
        name: name.to_owned(),
        start: None,
        frame_hz: SCALED_HZ,
        n_frames: n_samples as u64,
        signals: leads.map(signal).collect(),
        comments: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_read_whatever_their_likelihood() {
        let names: Vec<&str> = statements("{'NORM': 100.0, 'LVOLT': 0.0, 'SR': 0.0}").collect();
        assert_eq!(names, ["NORM", "LVOLT", "SR"]);
        assert_eq!(statements("{}").count(), 0);
    }

    #[test]
    fn superclasses_come_from_diagnostic_statements_alone() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "scp_statements.csv",
            ",description,diagnostic,form,diagnostic_class\nIMI,a,1.0,,MI\nNDT,b,1.0,1.0,STTC\nSR,c,,,\n",
        );
        write(
            "ptbxl_database.csv",
            "ecg_id,patient_id,scp_codes,strat_fold,filename_lr,filename_hr\n\
             1,5.0,\"{'IMI': 15.0, 'NDT': 0.0, 'SR': 0.0}\",9,lr/1,hr/1\n2,6.0,{'SR': 0.0},9,lr/2,hr/2\n",
        );
        write("hr/1.hea", "");
        write("hr/2.hea", "");
        let (cases, excluded) = cases(dir.path(), &[]).unwrap();
        assert_eq!(cases.len(), 1);
        assert_eq!((cases[0].patient.as_str(), cases[0].fold), ("5", Some(9)));
        assert_eq!(cases[0].labels, [false, true, true, false, false]);
        assert_eq!(excluded[0].record, "hr/2");
        // What is in other folds is not even left out.
        let (cases, excluded) = super::cases(dir.path(), &[8]).unwrap();
        assert!(cases.is_empty() && excluded.is_empty());
    }

    #[test]
    fn recordings_scaled_lead_by_lead_get_the_usual_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let labels = "ecg_id,NORM,MI,STTC,CD,HYP,split\n7,1,0,0,0,0,labels_superclass_val.csv\n";
        std::fs::write(dir.path().join("labels.csv"), labels).unwrap();
        let header = "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 12, 3), }";
        let header = format!("{header:<117}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend((0..36i16).flat_map(i16::to_le_bytes));
        let path = dir.path().join("signals_100hz_int16.npy");
        std::fs::write(&path, &bytes).unwrap();
        let (found, _) = cases(dir.path(), &[]).unwrap();
        assert_eq!((found[0].fold, found[0].labels[0]), (Some(9), true));
        let record = found[0].record().unwrap();
        assert_eq!(record.signals[11].samples, [33, 34, 35]);
        // A standard deviation of lead II is between 0.05 and 0.5 mV.
        let gain = record.signals[1].gain;
        assert!((200.0..2000.0).contains(&gain), "{gain}");
        std::fs::write(&path, &bytes[..100]).unwrap();
        assert!(cases(dir.path(), &[]).is_err());
    }
}
