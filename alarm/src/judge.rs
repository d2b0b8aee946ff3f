//! Whether a condition is present at a sample, and why: one function for each.
//!
//! A verdict depends on the [`Memory`], the sample, and on whether the alarm stands already (for
//! hysteresis); never on when it was asked last.

use ecg::{Condition, Priority, RateSource, SampleCount, SampleIndex};

use crate::config::Config;
use crate::memory::{Break, HELD_BACK_SECONDS, Memory, Together};
use crate::pulse::{ARREST_RR_SECONDS, ARREST_SECONDS, EVEN, LOST_SECONDS, Pulse, STEADY};
use crate::suspicion::{Kind, QUIET_SECONDS, STRETCH_SECONDS};
use crate::{InForce, definition};

/// One beat in so many seconds is as good as none.
const LONE_SECONDS: f64 = 5.2;

/// Without the longest RR interval, a bradycardia may be so much faster, beats per minute.
const OTHERS_BPM: f64 = 3.0;

/// What is to be said of a condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It is present since `onset`.
    Present {
        onset: SampleIndex,
        priority: Priority,
        evidence: String,
    },
    /// It seems to be present since `onset`, but for a `reason` it is not to be raised.
    HeldBack {
        onset: SampleIndex,
        evidence: String,
        reason: String,
    },
    /// It is as it was: an open alarm stays, a new one is not raised.
    Unchanged,
    /// It is not present, for this reason.
    Absent(String),
}

/// All that a verdict rests on.
pub(crate) struct Judge<'a> {
    pub(crate) config: &'a Config,
    pub(crate) limits: InForce,
    pub(crate) memory: &'a Memory,
    pub(crate) at: SampleIndex,
}

impl Judge<'_> {
    /// The verdict on `condition`, which is `open` with a priority if its alarm stands.
    /// [`Condition::NoData`] is a matter of the wall clock and always [`Verdict::Unchanged`].
    pub(crate) fn verdict(&self, condition: Condition, open: Option<Priority>) -> Verdict {
        let stands = open.is_some();
        match condition {
            Condition::Asystole => self.asystole(stands),
            Condition::VentricularFibrillation => {
                self.ventricular(condition, Kind::Fibrillation, stands)
            }
            Condition::VentricularTachycardia => {
                self.ventricular(condition, Kind::Tachycardia, stands)
            }
            Condition::ExtremeBradycardia => self.bradycardia(stands),
            Condition::ExtremeTachycardia => self.tachycardia(stands),
            Condition::Pause => self.pause(stands),
            Condition::HighRate | Condition::LowRate => self.rate(condition, stands),
            Condition::LeadsOff => self.leads_off(open),
            Condition::PulseLost => self.pulse_lost(stands),
            Condition::UnusableSignal => self.unusable_signal(stands),
            // Told, not judged.
            Condition::VentricularRun
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

    fn asystole(&self, stands: bool) -> Verdict {
        let condition = Condition::Asystole;
        let start = self.memory.interval_start();
        if !self.running(self.memory.spans.asystole) {
            if let Some(onset) = self.lone_beat() {
                let evidence = format!("one QRS in {:.1} s", self.elapsed(onset));
                return self.unless_pulse_goes_on(condition, onset, evidence, stands);
            }
            let Some((last, longest)) = self.arrest() else {
                return Verdict::Absent(self.what_ended_it());
            };
            let silent = self.elapsed(last);
            let evidence = format!("no pulse for {silent:.1} s, longest RR {longest:.1} s");
            return present(condition, last, evidence);
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
        let evidence = match self.elapsed(start) {
            seconds if seconds <= HELD_BACK_SECONDS => {
                format!("no QRS for {seconds:.1} s, {because}")
            }
            _ => format!("no QRS for more than {HELD_BACK_SECONDS:.0} s"),
        };
        self.unless_pulse_goes_on(condition, start, evidence, stands)
    }

    fn pause(&self, stands: bool) -> Verdict {
        match self.memory.last_beat() {
            Some(beat) if self.running(self.pause_span()) => {
                let evidence = format!("no QRS for {:.1} s", self.elapsed(beat));
                self.unless_pulse_goes_on(Condition::Pause, beat, evidence, stands)
            }
            _ => Verdict::Absent(self.what_ended_it()),
        }
    }

    /// Present, unless the pulse shows that only the ECG fell silent.
    fn unless_pulse_goes_on(
        &self,
        condition: Condition,
        onset: SampleIndex,
        evidence: String,
        stands: bool,
    ) -> Verdict {
        let against = self.memory.pulse_goes_on(onset, self.at);
        if against.is_some() && !stands {
            return present_unless(condition, onset, evidence, against);
        }
        let longest = self.memory.rate.count(HELD_BACK_SECONDS);
        present(condition, onset.max(self.at.before(longest)), evidence)
    }

    /// The beat before the last one, if the last one stands alone in [`LONE_SECONDS`]: noise may have been taken for it, and a heart
    /// that beats so seldom stands still as well.
    fn lone_beat(&self) -> Option<SampleIndex> {
        let mut last = self.memory.last_beats(2)?;
        let (before, lone) = (last.next()?, last.next()?);
        let count = |seconds| self.memory.rate.count(seconds);
        // After a pause, an escape beat is followed by others.
        let alone = lone.since(before) >= count(LONE_SECONDS / 4.0)
            && self.at.since(lone) >= count(LONE_SECONDS / 2.0);
        let long = self.at.since(before) >= count(LONE_SECONDS);
        (alone && long && self.memory.gap_until.is_none()).then_some(before)
    }

    /// A heart that moves no blood though waves are found, where the ECG can be judged.
    fn arrest(&self) -> Option<(SampleIndex, f64)> {
        let judged = self.memory.has_ecg && self.memory.gap_until.is_none();
        judged.then(|| self.memory.arrest(self.at)).flatten()
    }

    fn ventricular(&self, condition: Condition, kind: Kind, stands: bool) -> Verdict {
        let limit = self.memory.ventricular_limit(kind);
        let suspicion = self.memory.suspicion(kind);
        let (alone, pulse) = (suspicion.alone, suspicion.pulse);
        let evidence = format!("probability {:.2}, {pulse}", suspicion.likely);
        if stands {
            if self.memory.is_over(kind, self.at)[1] {
                let (half, seconds) = (0.5 * limit, QUIET_SECONDS);
                return Verdict::Absent(format!("probability under {half:.2} for {seconds:.0} s"));
            }
            Verdict::Unchanged
        } else if suspicion.likely >= limit {
            let stretch = self.memory.rate.count(STRETCH_SECONDS);
            present(condition, self.at.before(stretch), evidence)
        } else if alone >= limit {
            Verdict::HeldBack {
                onset: suspicion.since,
                evidence: format!("probability {alone:.2} by the waves alone"),
                reason: if suspicion.slow {
                    format!("no fast beats on end, {pulse}")
                } else {
                    pulse.to_string()
                },
            }
        } else {
            Verdict::Absent(String::new())
        }
    }

    /// The rate of a pulse that is steady, where `contradicts` what the ECG says.
    fn steady_pulse(&self, contradicts: impl Fn(f64) -> bool) -> Option<String> {
        let pulse = self.memory.pulse(self.at);
        let Pulse::Steady(bpm) = pulse else {
            return None;
        };
        contradicts(bpm).then(|| pulse.to_string())
    }

    fn pause_span(&self) -> SampleCount {
        let seconds = self.limits.pause_seconds.into();
        self.memory.rate.count(seconds)
    }

    fn rate_delay_span(&self) -> SampleCount {
        let seconds = self.limits.rate_delay_seconds.into();
        self.memory.rate.count(seconds)
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
        let bpm = self.limits.extreme_bradycardia_bpm;
        let beats = self.config.extreme_bradycardia.beats;
        if self.memory.listens_to_pulse() {
            let back = f64::from(bpm + self.config.hysteresis_bpm);
            let (slow, back) = (|rate| rate < f64::from(bpm), |rate| rate >= back);
            return self.by_pulse(condition, stands, (beats, EVEN), slow, back);
        }
        let Some((onset, mean)) = self.mean_rate(beats) else {
            return Verdict::Absent(self.what_ended_it());
        };
        let pulse = self.memory.pulse_rate(usize::from(beats), self.at);
        if stands {
            let enough = f64::from(bpm + self.config.hysteresis_bpm);
            return if mean >= enough && pulse.is_none_or(|pulse| pulse >= enough) {
                Verdict::Absent(format!("{beats} beats at {mean:.0}/min"))
            } else {
                Verdict::Unchanged
            };
        }
        let limit = f64::from(bpm);
        let of = self.memory.last_beats(beats).into_iter().flatten();
        let intervals = of.clone().zip(of.skip(1));
        let intervals = intervals.map(|(earlier, later)| self.memory.seconds(earlier, later));
        let intervals: Vec<f64> = intervals.collect();
        let longest = intervals.iter().copied().fold(0.0, f64::max);
        // One pause among beats of any rate is none: the others are slow too.
        let others = (intervals.iter().sum::<f64>() - longest) / f64::from(beats - 2);
        let slow = if mean < limit && others > 60.0 / (limit + OTHERS_BPM) {
            let evidence = format!("{beats} beats at {mean:.0}/min, longest RR {longest:.1} s");
            Some((onset, evidence))
        } else {
            // Waves that were taken for beats leave the pulse as it is.
            let pulse = pulse.filter(|pulse| *pulse < limit && longest > 60.0 / limit);
            pulse.map(|pulse| {
                let evidence =
                    format!("{beats} pulses at {pulse:.0}/min, longest RR {longest:.1} s");
                let seconds = 60.0 / pulse * f64::from(beats - 1);
                let onset = self.at.before(self.memory.rate.count(seconds));
                (onset, evidence)
            })
        };
        let Some((onset, evidence)) = slow else {
            return Verdict::Absent(String::new());
        };
        let against = self.steady_pulse(|pulse| pulse > 1.2 * limit);
        present_unless(condition, onset, evidence, against)
    }

    fn tachycardia(&self, stands: bool) -> Verdict {
        let bpm = self.limits.extreme_tachycardia_bpm;
        let beats = self.config.extreme_tachycardia.beats;
        if self.memory.listens_to_pulse() {
            let condition = Condition::ExtremeTachycardia;
            let back = f64::from(bpm - self.config.hysteresis_bpm);
            let (fast, back) = (|rate| rate > f64::from(bpm), |rate| rate <= back);
            return self.by_pulse(condition, stands, (beats, STEADY), fast, back);
        }
        let Some((onset, mean)) = self.mean_rate(beats) else {
            return Verdict::Absent(self.what_ended_it());
        };
        let evidence = format!("{beats} beats at {mean:.0}/min");
        let limit = f64::from(bpm);
        if mean > limit {
            let against = self.steady_pulse(|pulse| pulse < 0.75 * limit);
            let against = against.filter(|_| !stands);
            present_unless(Condition::ExtremeTachycardia, onset, evidence, against)
        } else if stands && mean > f64::from(bpm - self.config.hysteresis_bpm) {
            Verdict::Unchanged
        } else {
            Verdict::Absent(evidence)
        }
    }

    /// An extreme rate of `n` pulses on end, most of their intervals alike within `spread`, where there is no ECG to tell. While the
    /// pulse is uneven, an alarm that stands goes by the mean of the last intervals.
    fn by_pulse(
        &self,
        condition: Condition,
        stands: bool,
        (n, spread): (u8, f64),
        beyond: impl Fn(f64) -> bool,
        back: impl Fn(f64) -> bool,
    ) -> Verdict {
        let even = self.memory.even_pulse(usize::from(n), spread, self.at);
        if let Some((onset, rate)) = even.filter(|(_, rate)| beyond(*rate)) {
            let evidence = format!("{n} pulses at {rate:.0}/min, no ECG that can be judged");
            return present(condition, onset, evidence);
        }
        let fresh = |rate: &ecg::Rate| self.at < rate.at.after(self.memory.spans.rate_stale);
        let rate = self.memory.last_rate.filter(fresh);
        match rate.filter(|rate| rate.source == RateSource::Ppg) {
            _ if !stands => Verdict::Absent(String::new()),
            Some(rate) if !back(rate.bpm.into()) => Verdict::Unchanged,
            Some(rate) => Verdict::Absent(format!("pulse {:.0}/min", rate.bpm)),
            None => Verdict::Absent("no pulse that can be judged".into()),
        }
    }

    fn pulse_lost(&self, stands: bool) -> Verdict {
        let memory = self.memory;
        if memory.gap_until.is_some() {
            return Verdict::Absent("gap in the record".into());
        }
        if !memory.listens_to_pulse() {
            return Verdict::Absent("ECG that can be judged".into());
        }
        if let Some(Together::All(_)) = memory.off(ecg::SignalKind::has_pulse) {
            return Verdict::Absent("sensor off".into());
        }
        match memory.lost_pulse(self.at) {
            _ if stands && memory.pulse_is_back(self.at) => Verdict::Absent("pulse".into()),
            _ if stands => Verdict::Unchanged,
            Some((last, bpm)) => {
                let evidence = format!(
                    "no pulse for {LOST_SECONDS:.1} s, even at {bpm:.0}/min before; no ECG that can be judged"
                );
                present(Condition::PulseLost, last, evidence)
            }
            None => Verdict::Absent(String::new()),
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
        let (low, high) = (self.limits.low_bpm, self.limits.high_bpm);
        let memory = self.memory;
        let Some(last) = memory.last_rate else {
            return Verdict::Absent("no rate known".into());
        };
        if self.at.since(last.at) >= memory.spans.rate_stale {
            return Verdict::Absent(format!("no rate for {:.0} s", self.elapsed(last.at)));
        }
        let is_high = condition == Condition::HighRate;
        let hysteresis = self.config.hysteresis_bpm;
        if stands {
            let inside = if is_high {
                last.bpm <= high - hysteresis
            } else {
                last.bpm >= low + hysteresis
            };
            return if inside {
                Verdict::Absent(format!("rate {:.0}/min", last.bpm))
            } else {
                Verdict::Unchanged
            };
        }
        let delay = self.rate_delay_span();
        match self.beyond_limit(condition) {
            Some(since) if self.at.since(since) >= delay => {
                let (word, limit) = if is_high {
                    ("over", high)
                } else {
                    ("under", low)
                };
                let onset = self.at.before(delay);
                let evidence = format!(
                    "rate {:.0}/min, {word} the limit of {limit:.0}/min for {:.0} s ({})",
                    last.bpm,
                    memory.rate.seconds(delay),
                    last.source.name().to_uppercase(),
                );
                let inside = |pulse: f64| {
                    last.source == RateSource::Ecg
                        && if is_high {
                            pulse < f64::from(high - hysteresis)
                        } else {
                            pulse > f64::from(low + hysteresis)
                        }
                };
                present_unless(condition, onset, evidence, self.steady_pulse(inside))
            }
            _ => Verdict::Absent(String::new()),
        }
    }

    /// Since when the rate has been beyond the patient's limit.
    fn beyond_limit(&self, condition: Condition) -> Option<SampleIndex> {
        let (low, high) = (self.limits.low_bpm, self.limits.high_bpm);
        if condition == Condition::HighRate {
            self.memory.rates_since(|bpm| bpm > high)
        } else {
            self.memory.rates_since(|bpm| bpm < low)
        }
    }

    fn leads_off(&self, open: Option<Priority>) -> Verdict {
        let memory = self.memory;
        let ecg = memory.off(|kind| kind.lead().is_some());
        let ppg = memory.off(ecg::SignalKind::has_pulse);
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
                start.after(self.pause_span()),
                start.after(memory.spans.asystole),
            ]
        });
        let rates = [Condition::HighRate, Condition::LowRate].map(|condition| {
            self.beyond_limit(condition)
                .map(|since| since.after(self.rate_delay_span()))
        });
        let count = |seconds| memory.rate.count(seconds);
        let arrest = memory.pulses.back().map(|last| {
            let beat = memory.last_beat().unwrap_or_default();
            [
                last.after(count(ARREST_SECONDS)),
                beat.after(count(ARREST_RR_SECONDS)),
            ]
        });
        let pulses = memory.pulses.iter();
        let lost = pulses.map(|pulse| pulse.after(count(LOST_SECONDS)));
        let lone = memory.last_beats(2).and_then(|mut last| {
            let (before, lone) = (last.next()?, last.next()?);
            Some([
                before.after(count(LONE_SECONDS)),
                lone.after(count(LONE_SECONDS / 2.0)),
            ])
        });
        intervals
            .into_iter()
            .chain(lone)
            .chain(arrest)
            .flatten()
            .chain(lost)
            .chain(rates.into_iter().flatten())
            .chain(memory.rate_expires())
            .filter(|&due| due > self.at || (inclusive && due == self.at))
            .min()
    }
}

/// Present, or held back where there is a reason `against` it.
fn present_unless(
    condition: Condition,
    onset: SampleIndex,
    evidence: String,
    against: Option<String>,
) -> Verdict {
    match against {
        Some(reason) => Verdict::HeldBack {
            onset,
            evidence,
            reason,
        },
        None => present(condition, onset, evidence),
    }
}

fn present(condition: Condition, onset: SampleIndex, evidence: String) -> Verdict {
    Verdict::Present {
        onset,
        priority: definition(condition).priority,
        evidence,
    }
}
