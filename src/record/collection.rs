//! The recordings of a folder, with what a database says of each: patient, fold, quality.
//!
//! Three layouts are known: PTB-XL as published (`ptbxl_database.csv`; its 500 Hz records, or those at
//! 100 Hz where only they are there), Challenge 2011 (`quality.csv`), and any tree of WFDB and EDF
//! files. Of a database any part will do: what its table names and the folder lacks is passed over.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Error, records_in, with_suffix};

/// The deepest tree that is searched.
const MAX_DEPTH: usize = 8;

/// One recording of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What [`Record::open`](super::Record::open) takes.
    pub path: PathBuf,
    /// The path below the folder, without extension.
    pub name: String,
    /// Whose it is, where the database says.
    pub patient: Option<String>,
    /// The fold it is in, where the database has folds.
    pub fold: Option<u8>,
    /// Why the database says that it should not be used, if it does.
    pub unfit: Option<String>,
}

/// The recordings of `dir`, in the order of their names.
///
/// # Errors
/// A folder that cannot be read, or a table that is not of its database's form.
pub fn recordings(dir: &Path) -> Result<Vec<Entry>, Error> {
    let (table, quality) = (dir.join("ptbxl_database.csv"), dir.join("quality.csv"));
    let mut entries = if table.exists() {
        ptbxl(dir, &table)?
    } else {
        let mut paths = Vec::new();
        walk(dir, 0, &mut paths)?;
        paths.into_iter().map(|path| plain(dir, path)).collect()
    };
    if quality.exists() {
        judge(&quality, &mut entries)?;
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn plain(dir: &Path, path: PathBuf) -> Entry {
    let below = path.strip_prefix(dir).unwrap_or(&path);
    Entry {
        name: below.display().to_string(),
        path,
        patient: None,
        fold: None,
        unfit: None,
    }
}

fn walk(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    found.extend(records_in(dir)?);
    let unreadable = |source| Error::Read {
        path: dir.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if depth < MAX_DEPTH && path.is_dir() {
            walk(&path, depth + 1, found)?;
        }
    }
    Ok(())
}

/// A row of PTB-XL's table. The patient is a number with `.0` in some versions of it.
#[derive(Deserialize)]
struct PtbxlRow {
    patient_id: String,
    strat_fold: u8,
    filename_lr: String,
    filename_hr: String,
}

fn ptbxl(dir: &Path, table: &Path) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for row in rows(table)? {
        let row: PtbxlRow = row?;
        let there = |name: &String| with_suffix(&dir.join(name), "hea").exists();
        let names = [row.filename_hr, row.filename_lr];
        let Some(name) = names.into_iter().find(there) else {
            continue;
        };
        entries.push(Entry {
            patient: Some(row.patient_id.trim_end_matches(".0").to_owned()),
            fold: Some(row.strat_fold),
            ..plain(dir, dir.join(&name))
        });
    }
    Ok(entries)
}

#[derive(Deserialize)]
struct QualityRow {
    record: String,
    quality: String,
}

fn judge(table: &Path, entries: &mut [Entry]) -> Result<(), Error> {
    for row in rows(table)? {
        let row: QualityRow = row?;
        if row.quality == "acceptable" {
            continue;
        }
        for entry in entries.iter_mut().filter(|entry| entry.name == row.record) {
            entry.unfit = Some(format!("quality.csv: {}", row.quality));
        }
    }
    Ok(())
}

/// Names of records with a label each, from a table of two columns; a line of headings, where there is one, is a row like
/// any other.
///
/// # Errors
/// A table that cannot be read, or does not have two columns.
pub fn labels(table: &Path) -> Result<Vec<(String, String)>, Error> {
    let malformed = |error: csv::Error| Error::Malformed {
        path: table.to_owned(),
        reason: error.to_string(),
    };
    let mut options = csv::ReaderBuilder::new();
    let mut reader = options
        .has_headers(false)
        .from_path(table)
        .map_err(malformed)?;
    reader
        .deserialize()
        .map(|row| row.map_err(malformed))
        .collect()
}

/// The rows of a table, each read by the names of its columns.
///
/// # Errors
/// A table that cannot be read; a row that is not of its form.
pub fn rows<T: for<'de> Deserialize<'de>>(
    table: &Path,
) -> Result<impl Iterator<Item = Result<T, Error>>, Error> {
    let malformed = {
        let path = table.to_owned();
        move |error: csv::Error| Error::Malformed {
            path: path.clone(),
            reason: error.to_string(),
        }
    };
    let reader = csv::Reader::from_path(table).map_err(&malformed)?;
    Ok(reader
        .into_deserialize()
        .map(move |row| row.map_err(&malformed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_tree_is_searched_and_named_from_its_root() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "b/2.hea", "");
        write(dir.path(), "1.hea", "");
        write(dir.path(), "b/notes.txt", "");
        let found = recordings(dir.path()).unwrap();
        let names: Vec<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["1", "b/2"]);
        assert_eq!(found[1].path, dir.path().join("b/2"));
    }

    #[test]
    fn a_part_of_ptb_xl_is_what_of_its_table_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let head = "ecg_id,patient_id,report,strat_fold,filename_lr,filename_hr\n";
        let rows = "1,15709.0,\"a, b\",3,records100/1_lr,records500/1_hr\n\
                    2,7,x,9,records100/2_lr,records500/2_hr\n\
                    3,8,x,9,records100/3_lr,records500/3_hr\n";
        write(dir.path(), "ptbxl_database.csv", &format!("{head}{rows}"));
        write(dir.path(), "records500/1_hr.hea", "");
        write(dir.path(), "records100/1_lr.hea", "");
        write(dir.path(), "records100/2_lr.hea", "");
        let found = recordings(dir.path()).unwrap();
        let said: Vec<_> = found
            .iter()
            .map(|e| (e.name.as_str(), e.patient.as_deref(), e.fold))
            .collect();
        assert_eq!(
            said,
            [
                ("records100/2_lr", Some("7"), Some(9)),
                ("records500/1_hr", Some("15709"), Some(3)),
            ]
        );
        write(dir.path(), "ptbxl_database.csv", &rows.replace('9', "x"));
        let error = recordings(dir.path()).unwrap_err().to_string();
        assert!(error.contains("ptbxl_database.csv"), "{error}");
    }

    #[test]
    fn what_a_database_calls_bad_is_marked() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["1.hea", "2.hea"] {
            write(dir.path(), name, "");
        }
        write(
            dir.path(),
            "quality.csv",
            "record,quality\n1,acceptable\n2,unacceptable\n9,unacceptable\n",
        );
        let found = recordings(dir.path()).unwrap();
        assert_eq!(found[0].unfit, None);
        assert_eq!(found[1].unfit.as_deref(), Some("quality.csv: unacceptable"));
    }
}
