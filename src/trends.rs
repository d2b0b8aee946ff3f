//! What builds up over minutes: ventricular beats, and a rate that drifts away.
//!
//! **Pure: beats and rates of a record in order go in, what to tell the alarm machine comes out, when it changes.** What gave
//! way to a greater alarm is not told again after it. After a restart, the ventricular beats that are stored are counted
//! again; the rate starts anew, and is complete after fifty minutes: until then no drift begins, and one that stands ends no
//! sooner than it would have.

use std::collections::VecDeque;

use alarm::{Report, Said};
use ecg::{Beat, BeatClass, Condition, SampleIndex, SampleRate};

/// After a start or a gap, classes of beats count for nothing for so long, seconds.
const UNSURE: f64 = 20.0;
/// Ventricular beats are counted over so many seconds.
const MINUTE: f64 = 60.0;
/// More in a minute are many, where the patient has no other limit.
const MANY: f32 = 10.0;
/// This share of the limit is few again, once they have been as few for so many seconds.
const FEW: f32 = 0.5;
const CALM: f64 = 300.0;

/// Minutes that the rate of now is the median of, and those before that it is compared with.
const NOW: usize = 20;
const BEFORE: usize = 60;
/// So many of them must have a rate.
const ENOUGH_NOW: usize = 15;
const ENOUGH_BEFORE: usize = 30;
/// The rate has drifted if it is farther away than both, as a share and in beats per minute.
const AWAY: (f64, f64) = (0.3, 20.0);
/// It is back within this share.
const BACK: f64 = 0.2;
/// A drift is over after so many minutes: what was new is what is usual by then.
const LONGEST: u64 = 60;

/// Ventricular beats of the last minute.
#[derive(Debug, Default)]
pub struct Burden {
    /// More in a minute are many; [`MANY`] while nothing else is said.
    limit: Option<f32>,
    /// The limit changed since the last beat: what is not beyond it any more is over at once.
    changed: bool,
    beats: VecDeque<SampleIndex>,
    /// From where on all beats are known, and since when they have been few.
    since: Option<SampleIndex>,
    calm: Option<SampleIndex>,
    told: Option<bool>,
}

impl Burden {
    /// More ventricular beats in a minute than these are many from the next beat on.
    pub fn set_limit(&mut self, per_minute: f32) {
        if self.limit != Some(per_minute) {
            self.changed = self.limit.is_some();
            self.limit = Some(per_minute);
        }
    }

    /// Takes the next beat with its class; what is to be told of it.
    pub fn beat(&mut self, at: SampleIndex, ventricular: bool, rate: SampleRate) -> Option<Report> {
        let since = *self.since.get_or_insert(at);
        let minute = rate.count(MINUTE);
        // What is usual for the patient takes some beats to be known.
        if ventricular && at.since(since) >= rate.count(UNSURE) {
            self.beats.push_back(at);
        }
        while self
            .beats
            .pop_front_if(|beat| at.since(*beat) >= minute)
            .is_some()
        {}
        let n = self.beats.len();
        let many = self.limit.unwrap_or(MANY);
        if n as f32 > FEW * many || at.since(since) < minute {
            self.calm = None;
        } else {
            self.calm.get_or_insert(at);
        }
        let calm = self.calm.map_or(0.0, |calm| rate.seconds(at.since(calm)));
        let evidence = format!("{n} ventricular beats in a minute");
        let said = match self.beats.front() {
            Some(onset) if n as f32 > many => Said::Present {
                onset: *onset,
                evidence,
            },
            _ if calm >= CALM || self.changed => Said::Absent { evidence },
            _ => return None,
        };
        self.changed = false;
        news(&mut self.told, Condition::VentricularBurden, at, said)
    }

    /// Takes over after a restart: all beats are known from `since` on, and these are the last of them. What was to be told
    /// of them was.
    pub fn resume(&mut self, since: Option<SampleIndex>, beats: &[Beat], rate: SampleRate) {
        self.since = since;
        let first = beats.first().map_or(SampleIndex(0), |beat| beat.r_peak);
        for beat in beats {
            self.beat(beat.r_peak, beat.class == Some(BeatClass::V), rate);
            if beat.r_peak.since(first) < rate.count(MINUTE) {
                // There may have been more.
                self.calm = None;
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.beats.capacity() * size_of::<SampleIndex>()
    }

    /// Beats are missing up to `end`.
    pub fn gap(&mut self, end: SampleIndex) {
        self.since = Some(end);
    }
}

/// The mean rates of the last minutes.
#[derive(Debug, Default)]
pub struct Drift {
    /// Of each minute, the newest last; `NaN` where there was no rate.
    minutes: VecDeque<f32>,
    /// The minute under way, the sum of its rates and their number.
    open: Option<(u64, f64, u32)>,
    /// The minute in which a drift began.
    drifting: Option<u64>,
    told: Option<bool>,
}

/// A report, if it says something else than was `told`.
fn news(
    told: &mut Option<bool>,
    condition: Condition,
    at: SampleIndex,
    said: Said,
) -> Option<Report> {
    let present = matches!(said, Said::Present { .. });
    (told.replace(present) != Some(present)).then_some(Report {
        condition,
        at,
        said,
    })
}

impl Drift {
    /// Takes the next rate; what is to be told after the minute that it is the first after.
    pub fn rate(&mut self, at: SampleIndex, bpm: f32, rate: SampleRate) -> Option<Report> {
        let minute = at.0 / rate.count(MINUTE).0.max(1);
        let (open, sum, n) = self.open.unwrap_or((minute, 0.0, 0));
        if minute <= open {
            self.open = Some((open, sum + f64::from(bpm), n + 1));
            return None;
        }
        self.open = Some((minute, f64::from(bpm), 1));
        // As many as can matter: those without a rate are passed over at once.
        let silent = usize::try_from(minute - open - 1).unwrap_or(usize::MAX);
        #[expect(clippy::cast_possible_truncation, reason = "a rate is an f32")]
        self.minutes.push_back((sum / f64::from(n.max(1))) as f32);
        self.minutes
            .extend(std::iter::repeat_n(f32::NAN, silent.min(NOW + BEFORE)));
        while self.minutes.len() > NOW + BEFORE {
            self.minutes.pop_front();
        }
        self.compare(minute, at, rate)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.minutes.capacity() * size_of::<f32>()
    }

    fn compare(&mut self, minute: u64, at: SampleIndex, rate: SampleRate) -> Option<Report> {
        let split = self.minutes.len().checked_sub(NOW)?;
        let median = |of: &mut dyn Iterator<Item = &f32>, enough: usize| {
            let mut known: Vec<f32> = of.copied().filter(|bpm| bpm.is_finite()).collect();
            known.sort_by(f32::total_cmp);
            (known.len() >= enough).then(|| f64::from(known[(known.len() - 1) / 2]))
        };
        let now = median(&mut self.minutes.range(split..), ENOUGH_NOW)?;
        let before = median(&mut self.minutes.range(..split), ENOUGH_BEFORE)?;
        let away = (now - before).abs();
        let evidence = format!(
            "median rate {now:.0}/min in {NOW} minutes, {before:.0}/min in the hour before"
        );
        let over = self.drifting.is_some_and(|since| minute - since >= LONGEST);
        let said = if away <= BACK * before || over {
            if !over {
                self.drifting = None;
            }
            Said::Absent { evidence }
        } else if away > AWAY.0 * before && away > AWAY.1 {
            self.drifting.get_or_insert(minute);
            Said::Present {
                onset: at.before(rate.count(MINUTE * NOW as f64)),
                evidence,
            }
        } else {
            return None;
        };
        news(&mut self.told, Condition::RateTrend, at, said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hz() -> SampleRate {
        SampleRate::new(100.0).unwrap()
    }

    #[test]
    fn many_ventricular_beats_begin_and_few_end() {
        let mut burden = Burden::default();
        let mut told = Vec::new();
        // Every sixth second a ventricular beat for a minute, then every fifth, then none.
        for second in 0..700_u64 {
            let ventricular = match second {
                0..60 => second.is_multiple_of(6),
                60..180 => second.is_multiple_of(5),
                _ => false,
            };
            let report = burden.beat(SampleIndex(second * 100), ventricular, hz());
            let present = report.map(|report| matches!(report.said, Said::Present { .. }));
            if let Some(present) = present
                && told.last().is_none_or(|(_, last)| *last != present)
            {
                told.push((second, present));
            }
        }
        // Six of those each sixth second, none of the first twenty, and five of those each fifth; five are left at
        // 210 s, and five minutes later it is over.
        assert_eq!(told, [(80, true), (510, false)]);
    }

    #[test]
    fn another_limit_counts_from_the_next_beat() {
        let mut burden = Burden::default();
        let mut told = Vec::new();
        // Twelve in a minute all the time.
        for second in 0..200_u64 {
            match second {
                0 => burden.set_limit(10.0),
                100 => burden.set_limit(20.0),
                150 => burden.set_limit(11.0),
                _ => {}
            }
            let ventricular = second.is_multiple_of(5);
            let report = burden.beat(SampleIndex(second * 100), ventricular, hz());
            let present = report.map(|report| matches!(report.said, Said::Present { .. }));
            if let Some(present) = present
                && told.last().is_none_or(|(_, last)| *last != present)
            {
                told.push((second, present));
            }
        }
        assert_eq!(told, [(70, true), (100, false), (150, true)]);
    }

    #[test]
    fn a_restart_counts_on() {
        let ventricular = |second: u64| match second {
            0..300 => second.is_multiple_of(5),
            _ => second.is_multiple_of(40),
        };
        let beats: Vec<Beat> = (7..900_u64)
            .map(|second| Beat {
                r_peak: SampleIndex(second * 100),
                class: Some(if ventricular(second) {
                    BeatClass::V
                } else {
                    BeatClass::N
                }),
            })
            .collect();
        let told = |burden: &mut Burden, beats: &[Beat]| {
            let tell =
                |beat: &Beat| burden.beat(beat.r_peak, beat.class == Some(BeatClass::V), hz());
            let told = beats.iter().filter_map(tell);
            told.map(|report| (report.at, report.said))
                .collect::<Vec<_>>()
        };
        let whole = told(&mut Burden::default(), &beats);
        assert_eq!(whole.len(), 2, "{whole:?}");
        for restart in [1, 5, 30, 60, 90, 250, 330, 400, 640, 800] {
            let (before, after) = beats.split_at(restart);
            let mut burden = Burden::default();
            let mut all = told(&mut burden, before);
            let stands = all.len() == 1;
            let recent = before.len().saturating_sub(if stands { 440 } else { 70 });
            let mut resumed = Burden::default();
            resumed.resume(Some(before[0].r_peak), &before[recent..], hz());
            let mut later = told(&mut resumed, after);
            // What stands already, and what is over, is the machine's to pass over.
            later.retain(|one| whole.contains(one));
            all.extend(later);
            all.dedup();
            assert_eq!(all, whole, "restarted after {restart} beats");
        }
    }

    /// The minutes in which a drift begins and ends, at these rates by minute.
    fn drifts(bpm: impl Fn(u64) -> f32, minutes: u64) -> Vec<(u64, bool)> {
        let mut drift = Drift::default();
        let mut told: Vec<(u64, bool)> = Vec::new();
        for second in 0..minutes * 60 {
            let report = drift.rate(SampleIndex(second * 100), bpm(second / 60), hz());
            let Some(report) = report else { continue };
            let present = matches!(report.said, Said::Present { .. });
            if told.last().map_or(present, |(_, last)| *last != present) {
                told.push((second / 60, present));
            }
        }
        told
    }

    #[test]
    fn a_rate_that_stays_away_is_told_for_an_hour_at_most() {
        // Ten minutes of stairs are nothing.
        let stairs = |minute: u64| {
            if (80..90).contains(&minute) {
                120.0
            } else {
                70.0
            }
        };
        assert_eq!(drifts(stairs, 200), []);
        let walk = |minute: u64| {
            if (80..110).contains(&minute) {
                105.0
            } else {
                70.0
            }
        };
        assert_eq!(drifts(walk, 200), [(91, true), (120, false)]);
        let fever = |minute: u64| if minute >= 80 { 105.0 } else { 70.0 };
        let told = drifts(fever, 400);
        assert_eq!(told.len(), 2);
        assert!(told[1].0 - told[0].0 <= 60, "{told:?}");
        // Thirty percent of 60 are fewer than 20 a minute.
        assert_eq!(drifts(|m| if m >= 80 { 79.0 } else { 60.0 }, 200), []);
        // Half an hour before must be known.
        assert_eq!(drifts(|m| if m >= 25 { 120.0 } else { 60.0 }, 50), []);
    }
}
