//! Whether P waves make sense: an atrium that leads the ventricles does so at a steady distance.
//!
//! Fibrillation and flutter have small waves everywhere, some of which look like P. Taken one by one
//! they cannot be told from it; over the last beats they can: their distances to the R peak
//! scatter, and in fibrillation so do the RR intervals.

use std::collections::VecDeque;

/// How far back beats count.
pub(super) const SECONDS: f64 = 8.0;

/// With fewer beats nothing is said against P waves.
const FEWEST: usize = 4;
/// PR intervals this close to their median agree.
const AGREE_SECONDS: f64 = 0.03;
/// RR intervals that change by this share of themselves, in the median, are irregular.
const IRREGULAR: f64 = 0.1;
/// The share of beats that must have a P wave at the usual distance, for a regular rhythm and
/// for an irregular one.
const SHARE_REGULAR: f64 = 0.3;
const SHARE_IRREGULAR: f64 = 0.7;

/// What the last beats say of the atria.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Atria {
    /// Too few beats to say.
    Unknown,
    /// They do not lead.
    Astray,
    /// They lead at this usual distance, from the onset of P to the R peak, seconds.
    Lead(f64),
}

/// The beats of the last [`SECONDS`].
#[derive(Debug, Clone, Default)]
pub(super) struct Rhythm {
    /// Instant of the R peak, and from the onset of P to it where there seems to be a P wave; s.
    beats: VecDeque<(f64, Option<f64>)>,
}

impl Rhythm {
    /// Takes a beat in and says what the last ones, it included, come to.
    pub(super) fn push(&mut self, at: f64, pr: Option<f64>) -> Atria {
        while self
            .beats
            .front()
            .is_some_and(|beat| beat.0 <= at - SECONDS)
        {
            self.beats.pop_front();
        }
        self.beats.push_back((at, pr));
        if self.beats.len() < FEWEST {
            return Atria::Unknown;
        }
        let intervals: Vec<f64> = self.beats.iter().filter_map(|beat| beat.1).collect();
        let Some(usual) = median(&intervals) else {
            return Atria::Astray;
        };
        let agree = intervals
            .iter()
            .filter(|pr| (*pr - usual).abs() <= AGREE_SECONDS);
        let share = agree.count() as f64 / self.beats.len() as f64;
        let wanted = if self.irregularity() > IRREGULAR {
            SHARE_IRREGULAR
        } else {
            SHARE_REGULAR
        };
        if share >= wanted {
            Atria::Lead(usual)
        } else {
            Atria::Astray
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.beats.capacity() * size_of::<(f64, Option<f64>)>()
    }

    /// The median change from one RR interval to the next over the median interval.
    fn irregularity(&self) -> f64 {
        let beats = self.beats.iter();
        let rr: Vec<f64> = beats
            .clone()
            .zip(beats.skip(1))
            .map(|(a, b)| b.0 - a.0)
            .collect();
        let changes: Vec<f64> = rr.windows(2).map(|rr| (rr[1] - rr[0]).abs()).collect();
        match (median(&changes), median(&rr)) {
            (Some(change), Some(rr)) if rr > 0.0 => change / rr,
            _ => 0.0,
        }
    }
}

/// The middle value, or the mean of the middle two.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of the last of `beats`, given as RR and PR intervals.
    fn last(beats: &[(f64, Option<f64>)]) -> Atria {
        let mut rhythm = Rhythm::default();
        let mut at = 0.0;
        let mut said = Atria::Unknown;
        for (rr, pr) in beats {
            at += rr;
            said = rhythm.push(at, *pr);
        }
        said
    }

    #[test]
    fn a_steady_distance_is_believed() {
        let lead = Atria::Lead(0.16);
        assert_eq!(last(&[(0.8, Some(0.16)); 12]), lead);
        assert_eq!(last(&[(0.8, Some(0.16)), (0.8, None)].repeat(6)), lead);
        // half of the beats is not enough where the rhythm is irregular
        let bigeminy = [(0.6, None), (1.0, Some(0.16))].repeat(6);
        assert_eq!(last(&bigeminy), Atria::Astray);
    }

    #[test]
    fn scatter_is_not() {
        let fibrillation: Vec<_> = (0..12)
            .map(|k| {
                let k = f64::from(k);
                (
                    0.8 + 0.2 * (7.0 * k).sin(),
                    Some(0.2 + 0.08 * (3.0 * k).cos()),
                )
            })
            .collect();
        assert_eq!(last(&fibrillation), Atria::Astray);
        assert_eq!(last(&[(0.8, None); 12]), Atria::Astray);
    }

    #[test]
    fn the_past_is_forgotten() {
        let mut beats = vec![(0.8, None); 20];
        assert_eq!(last(&beats), Atria::Astray);
        beats.extend([(0.8, Some(0.16)); 12]);
        assert_eq!(last(&beats), Atria::Lead(0.16));
    }

    #[test]
    fn a_few_beats_prove_nothing() {
        let few = [(0.8, None), (0.8, Some(0.16)), (0.8, None)];
        assert_eq!(last(&few), Atria::Unknown);
    }
}
