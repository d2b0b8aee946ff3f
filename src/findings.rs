//! From what is found window by window to episodes.
//!
//! **An episode lasts from the first window that says something to the last one; an interruption of at most
//! [`MERGE_SECONDS`] does not end it**, or takes its end back if that was said already. Windows overlap, and a
//! probability may cross its threshold to and fro: without that rule, an hour of atrial fibrillation would be a hundred rows. What an episode rests on is kept of its first window, and
//! the highest probability of all.

mod conditions;
mod course;
mod fibrillation;
mod form;

pub use conditions::Conditions;
pub use course::{Course, Noted};
pub use fibrillation::Fibrillation;
pub use form::{Finding, to_json};

use ecg::{Anchor, Change, RecordId, SampleIndex, SampleRate, Source};
use store::FindingRow;

/// An interruption of at most so long does not end an episode.
pub const MERGE_SECONDS: f64 = 15.0;
/// How far an episode has come is written down as often.
const WRITE_SECONDS: f64 = 60.0;

/// What became of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It began.
    Began,
    /// It goes on.
    WentOn,
    /// It is over.
    Ended,
}

/// A window, read.
#[derive(Clone, Copy)]
pub struct Read<'a> {
    /// The record.
    pub record: &'a RecordId,
    /// Its base rate.
    pub rate: SampleRate,
    /// How it lies in UTC.
    pub anchor: Anchor,
    /// The first sample after the window.
    pub end: SampleIndex,
    /// What was found.
    pub findings: &'a [ecg::Finding],
}

/// The episodes of one device that are going on, or ended so lately that they may yet go on.
#[derive(Debug, Default)]
pub struct Episodes {
    episodes: Vec<Episode>,
}

#[derive(Debug)]
struct Episode {
    row: FindingRow,
    /// Where the row that was written last ends.
    written: SampleIndex,
}

impl Episodes {
    /// Those that a restart carries on.
    pub fn resume(rows: Vec<FindingRow>) -> Self {
        let episode = |row: FindingRow| Episode {
            written: row.end,
            row,
        };
        Self {
            episodes: rows.into_iter().map(episode).collect(),
        }
    }

    /// What is going on, in the order in which it began.
    pub fn current(&self) -> impl Iterator<Item = &FindingRow> {
        let rows = self.episodes.iter().map(|episode| &episode.row);
        rows.filter(|row| !row.ended)
    }

    /// Takes note of a window; windows of a record come in order. `change` says how a finding that begins stands to what is
    /// usual. What is to be written is appended to `rows`.
    pub fn window(
        &mut self,
        read: &Read<'_>,
        change: impl Fn(&ecg::Finding) -> Option<Change>,
        rows: &mut Vec<(Step, FindingRow)>,
    ) {
        for finding in read.findings {
            let mut episodes = self.episodes.iter_mut().rev();
            if let Some(episode) = episodes.find(|episode| says(read, finding, &episode.row)) {
                episode.go_on(read, finding, rows);
                continue;
            }
            let row = begin(read, finding, change(finding));
            rows.push((Step::Began, row.clone()));
            let written = row.end;
            self.episodes.push(Episode { row, written });
        }
        self.forget(read, rows);
    }

    /// The record ended: nothing goes on.
    pub fn end(&mut self, rows: &mut Vec<(Step, FindingRow)>) {
        for mut episode in self.episodes.drain(..) {
            if !episode.row.ended {
                episode.row.ended = true;
                rows.push((Step::Ended, episode.row));
            }
        }
    }

    /// Ends what the window does not say and lies too far after, or does not belong to.
    fn forget(&mut self, read: &Read<'_>, rows: &mut Vec<(Step, FindingRow)>) {
        self.episodes.retain_mut(|Episode { row, .. }| {
            let said = read.findings.iter().any(|finding| says(read, finding, row));
            let same = row.record == *read.record;
            if !row.ended && (!same || !said && too_late(read, read.end, row)) {
                row.ended = true;
                rows.push((Step::Ended, row.clone()));
            }
            let old = read.end.before(read.rate.count(store::RECENT_SECONDS)) > row.end;
            same && !(row.ended && old)
        });
    }
}

/// Whether a finding is of an episode.
fn says(read: &Read<'_>, finding: &ecg::Finding, row: &FindingRow) -> bool {
    row.record == *read.record
        && row.source == source(&finding.source)
        && row.name == finding.label.name
        && !too_late(read, finding.start, row)
}

/// Whether `at` is too long after an episode for it to go on.
fn too_late(read: &Read<'_>, at: SampleIndex, row: &FindingRow) -> bool {
    at.before(read.rate.count(MERGE_SECONDS)) > row.end
}

impl Episode {
    fn go_on(
        &mut self,
        read: &Read<'_>,
        finding: &ecg::Finding,
        rows: &mut Vec<(Step, FindingRow)>,
    ) {
        let row = &mut self.row;
        if finding.end <= row.end {
            // Read once more, after a restart.
            return;
        }
        row.end = finding.end;
        row.end_utc = read.anchor.utc(row.end);
        row.probability = match (row.probability, finding.probability) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (known, new) => known.or(new),
        };
        let reopened = std::mem::replace(&mut row.ended, false);
        if reopened || row.end.since(self.written) >= read.rate.count(WRITE_SECONDS) {
            self.written = row.end;
            rows.push((Step::WentOn, row.clone()));
        }
    }
}

fn begin(read: &Read<'_>, finding: &ecg::Finding, change: Option<Change>) -> FindingRow {
    FindingRow {
        record: read.record.clone(),
        source: source(&finding.source).to_owned(),
        name: finding.label.name.to_string(),
        onset: finding.start,
        end: finding.end,
        ended: false,
        start_utc: read.anchor.utc(finding.start),
        end_utc: read.anchor.utc(finding.end),
        text: finding.label.text.to_string(),
        snomed: finding.label.snomed,
        probability: finding.probability,
        model: match &finding.source {
            Source::Rule => None,
            Source::Model(model) => Some((model.version.clone(), model.sha256.clone())),
        },
        change,
        body: form::one_to_json(finding),
    }
}

/// The word for who says something.
fn source(source: &Source) -> &str {
    match source {
        Source::Rule => "rule",
        Source::Model(model) => &model.name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{BootId, Evidence, Label};

    fn finding(end: u64) -> ecg::Finding {
        ecg::Finding {
            label: Label::new("pause", "Pause", None),
            start: SampleIndex(end * 100 - 1000),
            end: SampleIndex(end * 100),
            probability: None,
            source: Source::Rule,
            leads: Vec::new(),
            evidence: Evidence::default(),
        }
    }

    fn record(boot: u32) -> RecordId {
        RecordId {
            device: "vest".parse().unwrap(),
            boot: BootId(boot),
        }
    }

    /// Windows of 10 s that end at these seconds, each with or without the finding; what is written, as onset, end
    /// and whether it ended, in seconds.
    fn written(
        episodes: &mut Episodes,
        boot: u32,
        windows: &[(u64, bool)],
    ) -> Vec<(u64, u64, bool)> {
        let rate = SampleRate::new(100.0).unwrap();
        let mut rows = Vec::new();
        for (end, found) in windows {
            let found = if *found {
                vec![finding(*end)]
            } else {
                Vec::new()
            };
            let read = Read {
                record: &record(boot),
                rate,
                anchor: Anchor {
                    index: SampleIndex(0),
                    utc: ecg::Utc(0),
                    hz: 100.0,
                },
                end: SampleIndex(end * 100),
                findings: &found,
            };
            episodes.window(&read, |_| None, &mut rows);
        }
        let brief = |(step, row): &(Step, FindingRow)| {
            assert_eq!(*step == Step::Ended, row.ended);
            (row.onset.0 / 100, row.end.0 / 100, row.ended)
        };
        rows.iter().map(brief).collect()
    }

    #[test]
    fn a_short_interruption_does_not_end_an_episode() {
        let mut episodes = Episodes::default();
        let said = written(
            &mut episodes,
            1,
            &[(10, true), (15, false), (20, false), (25, true), (30, true)],
        );
        assert_eq!(said, [(0, 10, false)]);
        assert_eq!(episodes.current().count(), 1);
        let said = written(
            &mut episodes,
            1,
            &[(35, false), (40, false), (45, false), (50, false)],
        );
        assert_eq!(said, [(0, 30, true)]);
        assert_eq!(episodes.current().count(), 0);
        // What comes after that is another one.
        assert_eq!(written(&mut episodes, 1, &[(60, true)]), [(50, 60, false)]);
    }

    #[test]
    fn a_long_episode_is_written_each_minute_and_ends_with_the_record() {
        let mut episodes = Episodes::default();
        let windows: Vec<_> = (2..=30).map(|k| (5 * k, true)).collect();
        let said = written(&mut episodes, 1, &windows);
        assert_eq!(said, [(0, 10, false), (0, 70, false), (0, 130, false)]);
        // Another boot.
        assert_eq!(written(&mut episodes, 2, &[(10, false)]), [(0, 150, true)]);
        assert_eq!(written(&mut episodes, 2, &[(15, true)]), [(5, 15, false)]);
        let mut rows = Vec::new();
        episodes.end(&mut rows);
        assert!(rows.len() == 1 && rows[0].1.ended);
    }

    #[test]
    fn a_restart_carries_on_where_it_was_left() {
        let mut episodes = Episodes::default();
        written(&mut episodes, 1, &[(10, true), (15, true)]);
        let rows = episodes.current().cloned().collect();
        let mut resumed = Episodes::resume(rows);
        // The window before is read once more.
        assert_eq!(written(&mut resumed, 1, &[(15, true), (20, true)]), []);
        let onset = resumed.current().next().unwrap().onset;
        assert_eq!(onset, SampleIndex(0));
        // One that ended goes on if it ended a moment ago.
        let mut row = resumed.current().next().unwrap().clone();
        row.ended = true;
        let mut resumed = Episodes::resume(vec![row]);
        assert_eq!(written(&mut resumed, 1, &[(25, true)]), [(0, 25, false)]);
    }
}
