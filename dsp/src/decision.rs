//! Which crests of the QRS envelope are beats.
//!
//! One look at each crest, about a third of a second after it, and no second look: where
//! detectors go back and search again with a lower threshold after a long interval, the threshold
//! here falls as the interval grows, so a weak beat is accepted when it comes.
//!
//! 1. Under 200 ms after a beat the ventricles are refractory: no beat.
//! 2. Up to 360 ms after a beat a crest lower than a good part of that beat is its T wave.
//! 3. A crest soon outshone by a much higher one is a P wave or noise before a beat.
//! 4. Otherwise the crest must stand above the noise by a part of the usual beat, large
//!    soon after a beat and small when one is overdue.
//!
//! Reference for 1 and 2: Pan & Tompkins, IEEE TBME 32(3), 1985, doi:10.1109/TBME.1985.325532.

use crate::crest::Crest;
use crate::relay::Decider;

/// Crests lower than this are no beats, mV of the band-passed lead.
const FLOOR: f32 = 0.035;

const REFRACTORY_SECONDS: f64 = 0.2;
const T_WAVE_SECONDS: f64 = 0.36;
/// Height of a T wave's crest over that of its beat, at most.
const T_WAVE_PART: f32 = 0.4;
/// How much higher the envelope soon rises if this crest was only its forerunner.
const OUTSHONE: f32 = 1.2;
/// The part of the usual height that a crest needs nevertheless.
const OUTSHONE_PART: f32 = 0.8;
/// The part needed by the first crests, before there is an interval.
const SECOND_PART: f32 = 0.32;
/// The part of the usual height that a crest needs at a multiple of the usual interval.
const PART: [(f64, f32); 4] = [(0.5, 0.28), (0.9, 0.22), (1.2, 0.16), (2.0, 0.14)];
/// The interval taken as usual while fewer than two are known.
const USUAL_SECONDS: f64 = 0.8;

/// The last few crests of a kind.
#[derive(Debug, Default)]
struct Recent {
    ring: [Crest; 8],
    n: usize,
}

impl Recent {
    fn push(&mut self, crest: Crest) {
        self.ring[self.n % self.ring.len()] = crest;
        self.n += 1;
    }

    fn last(&self) -> Option<Crest> {
        (self.n > 0).then(|| self.ring[(self.n - 1) % self.ring.len()])
    }

    /// The height that a `part` of the crests stay under; zero where there are none.
    fn height(&self, part: usize, of: usize) -> f32 {
        let n = self.n.min(self.ring.len());
        if n == 0 {
            return 0.0;
        }
        let mut heights = self.ring.map(|crest| crest.height);
        let heights = &mut heights[..n];
        heights.sort_unstable_by(f32::total_cmp);
        heights[(n - 1) * part / of]
    }

    /// The middle one of the intervals between the crests, in samples.
    fn interval(&self) -> Option<u64> {
        let n = self.n.min(self.ring.len());
        if n < 3 {
            return None;
        }
        let mut intervals = [0; 8];
        for k in 1..n {
            let at = |back: usize| self.ring[(self.n - 1 - back) % self.ring.len()].at;
            intervals[k - 1] = at(k - 1) - at(k);
        }
        let intervals = &mut intervals[..n - 1];
        intervals.sort_unstable();
        Some(intervals[(n - 1) / 2])
    }
}

/// The rules above.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    beats: Recent,
    others: Recent,
}

impl Decider for Rules {
    fn decide(&mut self, crest: Crest, after: f32, rate: f64) -> bool {
        let counts = self.counts(crest, after, rate);
        if counts {
            self.beats.push(crest);
        } else {
            self.others.push(crest);
        }
        counts
    }
}

impl Rules {
    fn counts(&self, crest: Crest, after: f32, rate: f64) -> bool {
        if crest.height < FLOOR {
            return false;
        }
        let usual = match self.beats.n {
            0 => 0.8 * after.max(crest.height).max(self.others.height(1, 1)),
            1 => 0.8 * self.beats.height(1, 1),
            _ => self.beats.height(3, 5),
        };
        let mut part = SECOND_PART;
        if let Some(last) = self.beats.last() {
            let since = (crest.at - last.at) as f64 / rate;
            if since < REFRACTORY_SECONDS {
                return false;
            }
            if since < T_WAVE_SECONDS && crest.height < T_WAVE_PART * last.height.min(2.0 * usual) {
                return false;
            }
            let interval = self
                .beats
                .interval()
                .map_or(USUAL_SECONDS, |samples| samples as f64 / rate);
            part = part_at(since / interval);
        }
        if after > OUTSHONE * crest.height {
            part = part.max(OUTSHONE_PART);
        }
        let noise = self.others.height(3, 4).min(0.5 * usual);
        crest.height > noise + part * (usual - noise)
    }
}

/// [`PART`], straight between its points.
#[expect(clippy::cast_possible_truncation, reason = "a part is an f32")]
fn part_at(multiple: f64) -> f32 {
    let mut low = PART[0];
    for high in PART {
        if multiple < high.0 {
            let along = ((multiple - low.0) / (high.0 - low.0).max(1e-9)).max(0.0);
            return low.1 + (high.1 - low.1) * along as f32;
        }
        low = high;
    }
    low.1
}
