//! One series of beats from the candidates of all ECG leads.
//!
//! Each lead says of each place where a beat may be how likely it is. Candidates of different leads
//! within [`EVENT_SECONDS`] of each other are one event, and **the log-odds of the leads
//! add up**: a beat that is plain in one lead survives noise in another, noise in one does not
//! pass for a beat where the other is calm. A lead counts by how plain its candidates of the last seconds
//! were, and by how usable the three whole seconds before were; one whose electrode was off in the last of them does not
//! count.
//!
//! The R peak is that of the first lead in order of preference that is usable, so that
//! intervals are measured in one lead; that of another only where it has no credible one.
//! With one lead, what comes out is what its detector finds.

use std::collections::VecDeque;

use ecg::{Quality, SampleIndex, SampleRate};

use crate::qrs::{APART_SECONDS, Candidate, R_SECONDS};
use crate::quality::second_of;
use crate::selection::{Taken, Verdicts};

/// Candidates of two leads this close are of one event.
const EVENT_SECONDS: f64 = 0.1;
/// How much before the middle of an event its R peak can be, and a little for rounding.
const BEFORE_SECONDS: f64 = R_SECONDS + 0.01;
/// From an R peak in one lead to one in another, at least.
const CHANGE_SECONDS: f64 = 0.25;
/// Log-odds that a single lead can contribute.
const MOST: f32 = 8.0;
/// What a lead that sees something, but nothing here, contributes.
const ABSENT: f32 = -5.0;
/// A lead that sees something has had a candidate within this time.
const AWAKE_SECONDS: f64 = 1.0;
/// The weight of leads besides the preferred one.
const SECONDARY: f32 = 0.8;
/// The weight of a lead that was noisy, flat or saturated in two of three seconds.
const DOUBTFUL: f32 = 0.6;
/// How much the doubt about its candidates takes from the weight of a lead.
const DOUBT: f32 = 4.0;
/// The R peak of the preferred lead counts if its candidate is at least so likely, as log-odds.
const CREDIBLE: f32 = -2.0;

/// One lead.
#[derive(Debug)]
struct Voice {
    /// Which signal of the record it is.
    signal: usize,
    /// Its candidates at the base rate, those of the last moments included.
    found: VecDeque<Candidate>,
    /// How many of them, from the front, have had their turn.
    done: usize,
    /// The latest that has been let go.
    gone: Option<Candidate>,
    verdicts: Verdicts,
    weight: f32,
}

/// What a lead counts while there is so much doubt about its candidates.
fn weight(voice: &Voice, doubt: f32) -> f32 {
    voice.weight / (1.0 + DOUBT * doubt)
}

/// Adds up what the leads say.
#[derive(Debug)]
pub(crate) struct Fusion {
    base: SampleRate,
    /// In order of preference.
    voices: Vec<Voice>,
    /// The lead that gives the R peaks.
    current: usize,
    /// The second that the weights are for.
    second: Option<u64>,
    start: u64,
    /// The last R peak and its lead.
    last: Option<(u64, usize)>,
}

impl Fusion {
    /// Of `signals`, the most preferred first.
    pub(crate) fn new(base: SampleRate, signals: &[usize]) -> Self {
        let voice = |signal: &usize| Voice {
            signal: *signal,
            found: VecDeque::with_capacity(16),
            done: 0,
            gone: None,
            verdicts: Verdicts::default(),
            weight: 1.0,
        };
        Self {
            base,
            voices: signals.iter().map(voice).collect(),
            current: 0,
            second: None,
            start: 0,
            last: None,
        }
    }

    /// Begins a new segment at `start`.
    pub(crate) fn reset(&mut self, start: SampleIndex) {
        for voice in &mut self.voices {
            voice.found.clear();
            voice.done = 0;
            voice.gone = None;
            voice.verdicts.clear();
            voice.weight = 1.0;
        }
        self.current = 0;
        self.second = None;
        self.start = start.0;
        self.last = None;
    }

    /// Notes how good a second of a signal was.
    pub(crate) fn judge(&mut self, signal: usize, quality: &Quality) {
        let second = second_of(quality.start.0, self.base);
        for voice in self.voices.iter_mut().filter(|v| v.signal == signal) {
            voice.verdicts.note(second, quality);
        }
    }

    /// Takes in candidates of a signal, in order, at the base rate.
    pub(crate) fn hear(&mut self, signal: usize, candidates: impl Iterator<Item = Candidate>) {
        if let Some(voice) = self.voices.iter_mut().find(|v| v.signal == signal) {
            voice.found.extend(candidates);
        }
    }

    /// Takes every beat whose R peak is before `until`, and maybe some after. All detectors have said
    /// everything about `until`, and every whole second before it has been judged.
    pub(crate) fn take(&mut self, until: SampleIndex, mut taken: impl FnMut(Taken<SampleIndex>)) {
        let horizon = until.0 + self.base.count(BEFORE_SECONDS).0;
        while let Some((k, event)) = self.next_event(horizon) {
            self.go_to(event.middle.0, &mut taken);
            self.voices[k].done += 1;
            if let Some(beat) = self.decide(k, event) {
                taken(Taken::Found(beat));
            }
            self.forget(event.middle.0);
        }
        if horizon > self.start {
            self.go_to(horizon - 1, &mut taken);
        }
    }

    /// The earliest candidate that has not had its turn, before `horizon`, with its lead.
    fn next_event(&self, horizon: u64) -> Option<(usize, Candidate)> {
        let candidates = self.voices.iter().enumerate();
        candidates
            .filter_map(|(k, voice)| Some((k, *voice.found.get(voice.done)?)))
            .filter(|(_, candidate)| candidate.middle.0 < horizon)
            .min_by_key(|(k, candidate)| (candidate.middle, *k))
    }

    /// Weighs the leads anew for each second that begins up to `at`.
    fn go_to(&mut self, at: u64, taken: &mut impl FnMut(Taken<SampleIndex>)) {
        let second = second_of(at, self.base);
        let mut next = self
            .second
            .map_or_else(|| second_of(self.start, self.base), |second| second + 1);
        while next <= second {
            self.second = Some(next);
            if self.weigh(next) {
                taken(Taken::Blind);
            }
            next += 1;
        }
    }

    /// Weighs the leads for `second`; whether no electrode was on just before.
    fn weigh(&mut self, second: u64) -> bool {
        let mut best = (0, u32::MAX, false);
        for (k, voice) in self.voices.iter_mut().enumerate() {
            let (badness, off) = voice.verdicts.badness(second);
            voice.weight = match badness {
                0 => 1.0,
                _ if off => 0.0,
                _ => DOUBTFUL,
            };
            if badness < best.1 {
                best = (k, badness, off);
            }
        }
        self.current = best.0;
        for (k, voice) in self.voices.iter_mut().enumerate() {
            if k != best.0 {
                voice.weight *= SECONDARY;
            }
        }
        if self.voices.iter().all(|voice| voice.weight == 0.0) {
            // The electrode may be on again by now.
            for voice in &mut self.voices {
                voice.weight = 1.0;
            }
        }
        best.2
    }

    /// The R peak of the event around a candidate of lead `k`, if it is a beat and not for
    /// another candidate to tell.
    fn decide(&mut self, k: usize, own: Candidate) -> Option<SampleIndex> {
        let rank = |voice: usize| (voice != self.current, voice);
        if self.voices[k].weight == 0.0 {
            return None;
        }
        let middle = own.middle.0;
        let mut sum = 0.0;
        let mut peak = (own.r_peak.0, k, own.log_odds);
        let earliest = middle.saturating_sub(self.base.count(R_SECONDS).0);
        for (m, voice) in self.voices.iter().enumerate() {
            if voice.weight == 0.0 {
                continue;
            }
            let Some(other) = (if m == k {
                Some(own)
            } else {
                self.partner(voice, middle)
            }) else {
                if let Some(last) = self.last_of(voice, middle) {
                    sum += weight(voice, last.doubt) * ABSENT;
                }
                continue;
            };
            if rank(m) < rank(k) {
                return None;
            }
            sum += weight(voice, other.doubt) * other.log_odds.clamp(-MOST, MOST);
            if own.log_odds < CREDIBLE && other.log_odds > peak.2 && other.r_peak.0 >= earliest {
                peak = (other.r_peak.0, m, other.log_odds);
            }
        }
        let (at, lead, _) = peak;
        let clear = self.last.is_none_or(|(last, from)| {
            let apart = if from == lead {
                APART_SECONDS
            } else {
                CHANGE_SECONDS
            };
            at >= last + self.base.count(apart).0
        });
        if !(sum > 0.0 && clear && at >= self.start) {
            return None;
        }
        self.last = Some((at, lead));
        Some(SampleIndex(at))
    }

    /// The most likely candidate of a lead within an event.
    fn partner(&self, voice: &Voice, middle: u64) -> Option<Candidate> {
        let reach = self.base.count(EVENT_SECONDS).0;
        let near = voice
            .found
            .iter()
            .filter(|c| c.middle.0.abs_diff(middle) <= reach);
        near.copied()
            .max_by(|a, b| a.log_odds.total_cmp(&b.log_odds))
    }

    /// The last candidate of a lead that has lately seen anything.
    fn last_of<'a>(&self, voice: &'a Voice, middle: u64) -> Option<&'a Candidate> {
        let recent = middle.saturating_sub(self.base.count(AWAKE_SECONDS).0);
        let seen = voice.gone.iter().chain(&voice.found);
        let mut latest = seen.rev();
        latest.find(|candidate| (recent..middle).contains(&candidate.middle.0))
    }

    /// Lets go of the candidates that no event after `middle` will ask for.
    fn forget(&mut self, middle: u64) {
        let oldest = middle.saturating_sub(self.base.count(EVENT_SECONDS).0);
        for voice in &mut self.voices {
            while voice.done > 0
                && let Some(front) = voice.found.front()
                && front.middle.0 < oldest
            {
                voice.gone = voice.found.pop_front();
                voice.done -= 1;
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let found = |voice: &Voice| {
            voice.found.capacity() * size_of::<Candidate>() + voice.verdicts.heap_bytes()
        };
        self.voices.capacity() * size_of::<Voice>() + self.voices.iter().map(found).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{Lead, QualityReason, SignalKind};

    /// Plays candidates (lead, middle, log-odds), R peaks 5 samples later, at 100 Hz.
    fn play(candidates: &[(usize, u64, f32)], off: &[(usize, u64)], steps: u64) -> Vec<u64> {
        let base = SampleRate::new(100.0).unwrap();
        let mut fusion = Fusion::new(base, &[0, 1]);
        fusion.reset(SampleIndex(0));
        let mut beats = Vec::new();
        let (mut at, end) = (0, 1000);
        while at < end {
            let next = (at + steps).min(end);
            for second in at / 100..next / 100 {
                for (signal, _) in off.iter().filter(|(_, s)| *s == second) {
                    let quality = Quality {
                        signal: SignalKind::Ecg(Lead::II),
                        start: SampleIndex(second * 100),
                        end: SampleIndex(second * 100 + 100),
                        score: 0.0,
                        reason: QualityReason::LeadOff,
                    };
                    fusion.judge(*signal, &quality);
                }
            }
            // A candidate is known 30 samples after its middle.
            for (lead, middle, log_odds) in candidates {
                if (at..next).contains(&(middle + 30)) {
                    let candidate = Candidate {
                        middle: SampleIndex(*middle),
                        r_peak: SampleIndex(middle + 5),
                        log_odds: *log_odds,
                        doubt: 0.0,
                    };
                    fusion.hear(*lead, std::iter::once(candidate));
                }
            }
            let until = SampleIndex(next.saturating_sub(49));
            fusion.take(until, |taken| {
                if let Taken::Found(at) = taken {
                    beats.push(at.0);
                }
            });
            at = next;
        }
        beats
    }

    #[track_caller]
    fn check(candidates: &[(usize, u64, f32)], off: &[(usize, u64)], expected: &[u64]) {
        for steps in [1, 7, 100, 1000] {
            assert_eq!(play(candidates, off, steps), expected, "{steps}");
        }
    }

    #[test]
    fn leads_add_up() {
        // Plain in both: one beat, the R peak of the first.
        check(&[(0, 100, 6.0), (1, 104, 6.0)], &[], &[105]);
        check(&[(1, 100, 6.0), (0, 104, 6.0)], &[], &[109]);
        // Doubtful in one, plain in the other.
        check(&[(0, 100, -1.5), (1, 104, 6.0)], &[], &[105]);
        // Noise in one that the other knows nothing of.
        check(&[(0, 100, 2.0), (1, 104, -7.0)], &[], &[]);
        // Plain in one, silence in another that has just seen something.
        check(&[(0, 100, 4.5), (1, 40, -7.0)], &[], &[105]);
        check(&[(0, 100, 3.5), (1, 40, -7.0)], &[], &[]);
        // Two events.
        check(&[(0, 100, 6.0), (1, 130, 7.5)], &[], &[105, 135]);
    }

    #[test]
    fn a_fallen_electrode_has_no_say() {
        let off = [(0, 2), (0, 3)];
        check(&[(0, 420, 6.0), (1, 425, -6.0)], &off, &[]);
        check(&[(1, 425, 6.0)], &off, &[430]);
    }

    #[test]
    fn one_lead_is_its_detector() {
        check(
            &[(0, 100, 0.1), (0, 150, -0.1), (0, 200, 3.0)],
            &[],
            &[105, 205],
        );
        check(&[(0, 100, 3.0), (0, 115, 3.0)], &[], &[105]);
    }
}
