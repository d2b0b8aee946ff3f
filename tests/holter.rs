//! What `annotate` says of ectopic beats and heart rate variability, on simulated records and, where they are, on
//! real ones.

use std::path::Path;

use ecg::simulate::{Ectopy, Rhythm, Scenario};
use ecg::{Lead, SampleRate};
use einthoven::evaluate::ec57::Labels;
use einthoven::holter;
use einthoven::record::annotation::{self, Annotation, AnnotationCode, Annotations};
use serde_json::Value;

use crate::support::program::{einthoven, succeed};
use crate::support::record;
use crate::support::servers::recordings;

/// What `annotate` wrote about a record.
struct Written {
    annotations: Vec<Annotation>,
    episodes: Vec<Vec<String>>,
    stretches: Vec<Vec<String>>,
    summary: Value,
}

fn annotate(path: &Path) -> Written {
    let out = tempfile::tempdir().unwrap();
    succeed(
        einthoven()
            .arg("annotate")
            .arg(path)
            .arg("--out")
            .arg(out.path()),
    );
    let stem = out.path().join(path.file_name().unwrap());
    let text = |extension| std::fs::read_to_string(stem.with_extension(extension)).unwrap();
    let table = |extension| -> Vec<Vec<String>> {
        let text = text(extension);
        let rows = text.lines().skip(1);
        rows.map(|row| row.split(',').map(str::to_owned).collect())
            .collect()
    };
    Written {
        annotations: Annotations::read(&annotation::path(&stem, "ein"))
            .unwrap()
            .list,
        episodes: table("ectopy.csv"),
        stretches: table("hrv.csv"),
        summary: serde_json::from_str(&text("summary.json")).unwrap(),
    }
}

impl Written {
    /// Seconds at which rhythms begin, and their names.
    fn rhythms(&self, hz: f64) -> Vec<(f64, &str)> {
        let marks = self.annotations.iter();
        let marks = marks.filter(|a| a.code == AnnotationCode::RHYTHM);
        marks
            .map(|a| (a.at.0 as f64 / hz, a.aux.as_str()))
            .collect()
    }

    /// Ectopic beats of an origin, by pattern: singles, in couplets and in runs.
    fn grouped(&self, origin: &str) -> u64 {
        let count = |key: &str| self.summary[origin][key].as_u64().unwrap();
        let in_runs = self
            .episodes
            .iter()
            .filter(|row| row[0] == "run" && row[1] == origin);
        let in_runs: u64 = in_runs.map(|row| row[7].parse::<u64>().unwrap()).sum();
        count("singles") + 2 * count("couplets") + in_runs
    }

    #[track_caller]
    fn check_consistency(&self) {
        let classes = &self.summary["classes"];
        let beats = self.annotations.iter().filter(|a| a.code.is_qrs()).count();
        assert_eq!(self.summary["beats"], beats);
        for (origin, of) in [
            ("ventricular", &["V", "F"][..]),
            ("supraventricular", &["S"]),
        ] {
            let n: u64 = of
                .iter()
                .map(|class| classes[class].as_u64().unwrap())
                .sum();
            assert_eq!(self.summary[origin]["beats"], n, "{origin}");
            assert_eq!(self.grouped(origin), n, "{origin}");
        }
        // Each mark stands before a beat, and none says what the one before said.
        let marks = self.annotations.iter().enumerate();
        let marks = marks.filter(|(_, a)| a.code == AnnotationCode::RHYTHM);
        let mut last = String::new();
        for (k, mark) in marks {
            let next = self.annotations[k..].iter().find(|a| a.code.is_qrs());
            assert_eq!(next.unwrap().at.0, mark.at.0 + 1, "{mark:?}");
            assert_ne!(mark.aux, last);
            last.clone_from(&mark.aux);
        }
    }
}

#[test]
fn patterns_of_a_simulated_record_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let sinus = Rhythm::Sinus { bpm: 66.0 };
    let bigeminy = Rhythm::Ectopic {
        bpm: 66.0,
        pattern: Ectopy::Bigeminy,
    };
    let couplets = Rhythm::Ectopic {
        bpm: 66.0,
        pattern: Ectopy::Couplets { per_minute: 10.0 },
    };
    let scenario = Scenario {
        rhythms: vec![
            (sinus, 310.0),
            (bigeminy, 30.0),
            (sinus, 20.0),
            (couplets, 60.0),
        ],
        ..Scenario::new(3, SampleRate::new(250.0).unwrap())
    };
    let leads = [Lead::II, Lead::V1, Lead::V5];
    let written = annotate(&record::write(
        dir.path(),
        "patterns",
        &scenario,
        420.0,
        &leads,
    ));
    written.check_consistency();

    let rhythms = written.rhythms(250.0);
    let [(start, first), (onset, second), (offset, third)] = rhythms[..] else {
        panic!("{rhythms:?}")
    };
    assert_eq!((first, second, third), ("(N", "(B", "(N"));
    assert!(start < 2.0 && (onset - 310.0).abs() < 3.0 && (offset - 340.0).abs() < 3.0);

    let patterns: Vec<&str> = written.episodes.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(patterns[0], "bigeminy");
    assert!(patterns.len() > 4 && patterns[1..].iter().all(|pattern| *pattern == "couplet"));
    let ventricular = &written.summary["ventricular"];
    assert_eq!(ventricular["bigeminy"], 1);
    assert_eq!(ventricular["couplets"], patterns.len() as u64 - 1);
    assert_eq!(ventricular["longest_run"], Value::Null);
    let per_hour = ventricular["beats"].as_f64().unwrap() * 3600.0 / 420.0;
    assert!((ventricular["per_hour"].as_f64().unwrap() - per_hour).abs() < 1e-6);

    // The first five minutes are sinus rhythm, the rest has normal beats enough for two minutes of it.
    assert_eq!(written.stretches.len(), 2);
    let of_first: Vec<f64> = written.stretches[0]
        .iter()
        .map(|cell| cell.parse().unwrap())
        .collect();
    assert!((of_first[4] - 60e3 / 66.0).abs() < 30.0, "{of_first:?}");
    assert!(of_first[12] < 1.0, "{of_first:?}");
    assert!(written.summary["hrv"]["sdann_ms"].is_number());
}

#[test]
fn no_pattern_reaches_across_a_stretch_without_electrodes() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = Scenario::new(4, SampleRate::new(250.0).unwrap());
    let path = record::write(dir.path(), "off", &scenario, 60.0, &[Lead::II]);
    // Samples that never were, in the middle.
    let file = path.with_extension("dat");
    let mut bytes = std::fs::read(&file).unwrap();
    for sample in bytes[2 * 250 * 30..2 * 250 * 40].chunks_mut(2) {
        sample.copy_from_slice(&i16::MIN.to_le_bytes());
    }
    std::fs::write(&file, bytes).unwrap();
    let written = annotate(&path);
    written.check_consistency();
    assert_eq!(written.summary["no_electrode_seconds"], 10.0);
    assert_eq!(written.summary["seconds"], 60.0);
    assert_eq!(written.episodes.len(), 0);
    let n_beats = written.summary["beats"].as_u64().unwrap();
    assert!((50..70).contains(&n_beats));
    let n_nn = written.summary["hrv"]["n_nn"].as_u64().unwrap();
    assert!(n_nn <= n_beats - 2, "{n_nn} of {n_beats}");
}

/// Runs only where the recordings are; prints a line where they are not. 119 has long stretches of ventricular
/// bigeminy and trigeminy and two kinds of beats that nobody takes for one another.
#[test]
fn a_real_record_has_its_bigeminy_and_trigeminy() {
    let Some(mitdb) = recordings("mitdb") else {
        return;
    };
    let written = annotate(&mitdb.join("119"));
    written.check_consistency();
    let reference = Annotations::read(&annotation::path(&mitdb.join("119"), "atr")).unwrap();
    let reference = Labels::from_annotations(&reference.list).beats;
    let v = |beat: &&ecg::Beat| beat.class == Some(ecg::BeatClass::V);
    let ventricular = reference.iter().filter(v).count() as f64;
    let found = written.summary["ventricular"]["beats"].as_f64().unwrap();
    assert!(
        (found - ventricular).abs() <= 2.0,
        "{found} of {ventricular}"
    );
    // What the definitions make of the beats of the reference.
    let expected = holter::rhythms(&reference, &[], SampleRate::new(360.0).unwrap());
    for (aux, least) in [("(B", 35), ("(T", 20)] {
        let expected = expected.iter().filter(|mark| mark.aux == aux).count();
        let found = written
            .rhythms(360.0)
            .iter()
            .filter(|(_, name)| *name == aux)
            .count();
        assert!(
            expected >= least && found.abs_diff(expected) <= 2,
            "{aux} {found} {expected}"
        );
    }
    assert_eq!(written.stretches.len(), 6);
}
