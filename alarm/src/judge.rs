//! Whether a condition is present at a sample, and why: one function for each.
//!
//! A verdict depends on the [`Memory`], the sample, and on whether the alarm stands already (for
//! hysteresis); never on when it was asked last.

use ecg::{Condition, Priority, SampleCount, SampleIndex};

use crate::config::{Config, Extreme, Limits};
use crate::definition;
use crate::memory::{Break, Memory, Together};

/// What is to be said of a condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It is present since `onset`.
    Present {
        onset: SampleIndex,
        priority: Priority,
        evidence: String,
    },
    /// It is as it was: an open alarm stays, a new one is not raised.
    Unchanged,
    /// It is not present, for this reason.
    Absent(String),
}

/// All that a verdict rests on.
pub(crate) struct Judge<'a> {
    pub(crate) config: &'a Config,
    pub(crate) limits: Limits,
    pub(crate) memory: &'a Memory,
    pub(crate) at: SampleIndex,
}

impl Judge<'_> {
    /// The verdict on `condition`, which is `open` with a priority if its alarm stands.
    /// [`Condition::NoData`] is a matter of the wall clock and always [`Verdict::Unchanged`].
    pub(crate) fn verdict(&self, condition: Condition, open: Option<Priority>) -> Verdict {
        let stands = open.is_some();
        match condition {
            Condition::Asystole => self.asystole(),
            Condition::ExtremeBradycardia => self.bradycardia(stands),
            Condition::ExtremeTachycardia => self.tachycardia(stands),
            Condition::Pause => self.pause(),
            Condition::HighRate | Condition::LowRate => self.rate(condition, stands),
            Condition::LeadsOff => self.leads_off(open),
            Condition::UnusableSignal => self.unusable_signal(stands),
            // Told, not judged.
            Condition::VentricularFibrillation
            | Condition::VentricularTachycardia
            | Condition::VentricularRun
            | Condition::AtrialFibrillation
            | Condition::AvBlock
            | Condition::StChange
            | Condition::VentricularBurden
            | Condition::RateTrend
            | Condition::NewFinding
            | Condition::NoData
            | Condition::DeviceOffline
            | Condition::LowBattery
            | Condition::ClockJump
            | Condition::Overloaded => Verdict::Unchanged,
        }
    }

    fn asystole(&self) -> Verdict {
        let start = self.memory.interval_start();
        if !self.running(self.memory.spans.asystole) {
            return Verdict::Absent(self.what_ended_it());
        }
        let because = match (self.memory.last_beat(), self.memory.because) {
            (Some(_), _) => match self.memory.last_rate {
                Some(rate) if self.at < rate.at.after(self.memory.spans.rate_stale) => {
                    format!("rate before {:.0}/min", rate.bpm)
                }
                _ => "rate before unknown".into(),
            },
            (None, Break::Start) => "since the record began".into(),
            (None, Break::Gap) => "since a gap in the record".into(),
            (None, Break::Unusable) => "since the ECG can be judged".into(),
        };
        let evidence = format!("no QRS for {:.1} s, {because}", self.elapsed(start));
        present(Condition::Asystole, start, evidence)
    }

    fn pause(&self) -> Verdict {
        match self.memory.last_beat() {
            Some(beat) if self.running(self.memory.spans.pause) => present(
                Condition::Pause,
                beat,
                format!("no QRS for {:.1} s", self.elapsed(beat)),
            ),
            _ => Verdict::Absent(self.what_ended_it()),
        }
    }

    /// Whether the interval without a beat that is running has lasted for `span`.
    fn running(&self, span: SampleCount) -> bool {
        self.memory.has_ecg
            && self.memory.gap_until.is_none()
            && self.at.since(self.memory.interval_start()) >= span
    }

    /// Why a condition that was counted on beats cannot be present.
    fn what_ended_it(&self) -> String {
        let ecg = |kind: ecg::SignalKind| kind.lead().is_some();
        if self.memory.gap_until.is_some() {
            "gap in the record".into()
        } else if let Together::All(_) = self.memory.unjudged(ecg) {
            format!("ECG cannot be judged: {}", self.memory.reasons(ecg))
        } else {
            "QRS".into()
        }
    }

    fn bradycardia(&self, stands: bool) -> Verdict {
        let condition = Condition::ExtremeBradycardia;
        let Extreme { bpm, beats } = self.config.extreme_bradycardia;
        let Some((onset, mean)) = self.mean_rate(beats) else {
            return Verdict::Absent(self.what_ended_it());
        };
        if stands {
            return if mean >= f64::from(bpm + self.config.hysteresis_bpm) {
                Verdict::Absent(format!("{beats} beats at {mean:.0}/min"))
            } else {
                Verdict::Unchanged
            };
        }
        let slow = 60.0 / f64::from(bpm);
        let (mut each, mut longest) = (true, 0.0_f64);
        if let Some(of) = self.memory.last_beats(beats) {
            for (earlier, later) in of.clone().zip(of.skip(1)) {
                let rr = self.memory.seconds(earlier, later);
                each &= rr > slow;
                longest = longest.max(rr);
            }
        }
        if each {
            present(
                condition,
                onset,
                format!("{beats} beats at {mean:.0}/min, longest RR {longest:.1} s"),
            )
        } else {
            Verdict::Absent(String::new())
        }
    }

    fn tachycardia(&self, stands: bool) -> Verdict {
        let Extreme { bpm, beats } = self.config.extreme_tachycardia;
        let Some((onset, mean)) = self.mean_rate(beats) else {
            return Verdict::Absent(self.what_ended_it());
        };
        let evidence = format!("{beats} beats at {mean:.0}/min");
        if mean > f64::from(bpm) {
            present(Condition::ExtremeTachycardia, onset, evidence)
        } else if stands && mean > f64::from(bpm - self.config.hysteresis_bpm) {
            Verdict::Unchanged
        } else {
            Verdict::Absent(evidence)
        }
    }

    /// The first of the last `n` consecutive beats, and their mean rate in beats per minute.
    fn mean_rate(&self, n: u8) -> Option<(SampleIndex, f64)> {
        let mut of = self.memory.last_beats(n)?;
        let (first, last) = (of.next()?, of.next_back()?);
        let span = self.memory.seconds(first, last);
        (span > 0.0).then(|| (first, 60.0 * f64::from(n - 1) / span))
    }

    fn rate(&self, condition: Condition, stands: bool) -> Verdict {
        let (low, high) = (self.limits.low_bpm(), self.limits.high_bpm());
        let memory = self.memory;
        let Some(last) = memory.last_rate else {
            return Verdict::Absent("no rate known".into());
        };
        if self.at.since(last.at) >= memory.spans.rate_stale {
            return Verdict::Absent(format!("no rate for {:.0} s", self.elapsed(last.at)));
        }
        let is_high = condition == Condition::HighRate;
        if stands {
            let inside = if is_high {
                last.bpm <= high - self.config.hysteresis_bpm
            } else {
                last.bpm >= low + self.config.hysteresis_bpm
            };
            return if inside {
                Verdict::Absent(format!("rate {:.0}/min", last.bpm))
            } else {
                Verdict::Unchanged
            };
        }
        let delay = memory.spans.rate_delay;
        match self.beyond_limit(condition) {
            Some(since) if self.at.since(since) >= delay => {
                let (word, limit) = if is_high {
                    ("over", high)
                } else {
                    ("under", low)
                };
                present(
                    condition,
                    self.at.before(delay),
                    format!(
                        "rate {:.0}/min, {word} the limit of {limit:.0}/min for {:.0} s ({})",
                        last.bpm,
                        memory.rate.seconds(delay),
                        last.source.name().to_uppercase(),
                    ),
                )
            }
            _ => Verdict::Absent(String::new()),
        }
    }

    /// Since when the rate has been beyond the patient's limit.
    fn beyond_limit(&self, condition: Condition) -> Option<SampleIndex> {
        let (low, high) = (self.limits.low_bpm(), self.limits.high_bpm());
        if condition == Condition::HighRate {
            self.memory.rates_since(|bpm| bpm > high)
        } else {
            self.memory.rates_since(|bpm| bpm < low)
        }
    }

    fn leads_off(&self, open: Option<Priority>) -> Verdict {
        let memory = self.memory;
        let ecg = memory.off(|kind| kind.lead().is_some());
        let ppg = memory.off(|kind| kind.lead().is_none());
        let groups = || [ecg, ppg].into_iter().flatten();
        let hold = memory.spans.leads_off;
        let held =
            |group: &Together| matches!(group, Together::All(since) if self.held(*since, hold));

        let priority = if groups().all(|group| held(&group)) {
            Priority::Medium
        } else if groups().all(|group| group == Together::NotAll) {
            return Verdict::Absent("electrodes are on".into());
        } else if groups().any(|group| held(&group)) {
            // What is left besides may be unknown after a gap: then nothing has changed.
            let left = groups().any(|group| group == Together::NotAll);
            match open {
                Some(Priority::Medium) if !left => return Verdict::Unchanged,
                _ => Priority::Low,
            }
        } else if open.is_some() {
            return Verdict::Unchanged;
        } else {
            return Verdict::Absent(String::new());
        };
        let since = groups()
            .filter(held)
            .filter_map(|group| match group {
                Together::All(since) => Some(since),
                _ => None,
            })
            .max();
        let off: Vec<&str> = memory
            .signals
            .iter()
            .filter(|s| {
                s.latest
                    .is_some_and(|q| q.reason == ecg::QualityReason::LeadOff)
            })
            .map(|s| s.kind.name())
            .collect();
        let rest = if priority == Priority::Medium {
            ", no signal left"
        } else {
            ""
        };
        Verdict::Present {
            onset: self.at.before(hold).max(since.unwrap_or_default()),
            priority,
            evidence: format!(
                "off for {:.0} s: {}{rest}",
                memory.rate.seconds(hold),
                off.join(", ")
            ),
        }
    }

    fn unusable_signal(&self, stands: bool) -> Verdict {
        let hold = self.memory.spans.unusable_signal;
        match self.memory.unjudged(|_| true) {
            Together::All(since) if self.held(since, hold) => present(
                Condition::UnusableSignal,
                self.at.before(hold).max(since),
                format!(
                    "no usable signal for {:.0} s: {}",
                    self.memory.rate.seconds(hold),
                    self.memory.reasons(|_| true)
                ),
            ),
            Together::NotAll => Verdict::Absent(self.memory.reasons(|_| true)),
            _ if stands => Verdict::Unchanged,
            _ => Verdict::Absent(String::new()),
        }
    }

    /// Whether a run of seconds from `since` has lasted for `span`, give or take the sample to
    /// which a second of a fractional rate is rounded.
    fn held(&self, since: SampleIndex, span: SampleCount) -> bool {
        self.at.since(since).0.saturating_add(1) >= span.0
    }

    fn elapsed(&self, since: SampleIndex) -> f64 {
        self.memory.seconds(since, self.at)
    }

    /// The first sample after `at` at which a verdict may change though no fact arrives, if any;
    /// `inclusive` asks for one at `at` itself too.
    pub(crate) fn next_due(&self, inclusive: bool) -> Option<SampleIndex> {
        let memory = self.memory;
        let intervals = (memory.has_ecg && memory.gap_until.is_none()).then(|| {
            let start = memory.interval_start();
            [
                start.after(memory.spans.pause),
                start.after(memory.spans.asystole),
            ]
        });
        let rates = [Condition::HighRate, Condition::LowRate].map(|condition| {
            self.beyond_limit(condition)
                .map(|since| since.after(memory.spans.rate_delay))
        });
        intervals
            .into_iter()
            .flatten()
            .chain(rates.into_iter().flatten())
            .chain(memory.rate_expires())
            .filter(|&due| due > self.at || (inclusive && due == self.at))
            .min()
    }
}

fn present(condition: Condition, onset: SampleIndex, evidence: String) -> Verdict {
    Verdict::Present {
        onset,
        priority: definition(condition).priority,
        evidence,
    }
}
