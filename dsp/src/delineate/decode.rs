//! From the probabilities around one beat to its waves.

use super::network::{LENGTH, N_CLASSES};

const P: usize = 1;
const QRS: usize = 2;
const T: usize = 3;

/// Where a class is at home.
const THRESHOLD: f32 = 0.5;
/// Where a P wave may be that is only believed at the usual distance.
const FAINT: f32 = 0.25;
/// The QRS holds a sample this close to the R peak; 80 ms, in samples, as all that follows.
const NEAR: usize = 10;
/// The QRS begins at most this long before the R peak, and ends at most as long after it as below.
const QRS_BEFORE: usize = 30;
const QRS_AFTER: usize = 35;
/// A QRS that the network does not see is given this half width.
const QRS_HALF: f64 = 5.0;
/// The P wave begins at most this long before the R peak, and this long after the one before.
const P_BEFORE: f64 = 60.0;
const P_APART: f64 = 8.0;
/// The T wave ends at most this long after the R peak, and this long before the next one.
const T_AFTER: f64 = 94.0;
const T_APART: f64 = 4.0;
/// The shortest P and T wave, whole samples.
const P_SHORTEST: usize = 3;
const T_SHORTEST: usize = 4;

/// A wave in samples of the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub(super) onset: f64,
    pub(super) peak: f64,
    pub(super) offset: f64,
}

/// The waves of one beat, in samples of the window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spans {
    pub(super) p: Option<Span>,
    /// A P wave by a lower standard.
    pub(super) faint_p: Option<Span>,
    pub(super) qrs: Span,
    pub(super) t: Option<Span>,
}

/// The R peak at `r`, in the middle of the window, between those at `before` and `after`, where
/// there are any.
pub(super) fn waves(
    signal: &[f32; LENGTH],
    classes: &[[f32; LENGTH]; N_CLASSES],
    r: f64,
    before: Option<f64>,
    after: Option<f64>,
) -> Spans {
    let qrs = qrs(&classes[QRS], r);
    let longest = |class: usize, from: usize, to: usize, shortest: usize, threshold: f32| {
        let run = Runs::new(&classes[class], from, to, threshold)
            .filter(|run| run.last + 1 - run.first >= shortest)
            .max_by(|a, b| a.mass.total_cmp(&b.mass))?;
        let (onset, offset) = run.ends(&classes[class], threshold);
        let peak = peak(signal, onset, offset);
        Some(Span {
            onset,
            peak,
            offset,
        })
    };
    let earliest = before.map_or(0.0, |before| before + P_APART);
    let from = index(earliest.max(r - P_BEFORE)).max(1);
    let p = |threshold| longest(P, from, index(qrs.onset) + 1, P_SHORTEST, threshold);
    let latest = after.map_or(LENGTH as f64, |after| after - T_APART);
    let to = index(latest.min(r + T_AFTER));
    Spans {
        p: p(THRESHOLD),
        faint_p: p(FAINT),
        qrs,
        t: longest(T, index(qrs.offset), to, T_SHORTEST, THRESHOLD),
    }
}

/// The QRS at the R peak: there is one, so the threshold yields where the network is in doubt.
fn qrs(probability: &[f32; LENGTH], r: f64) -> Span {
    let centre = index(r + 0.5).clamp(NEAR, LENGTH - 1 - NEAR);
    let near = centre - NEAR..centre + NEAR + 1;
    let top = probability[near.clone()]
        .iter()
        .fold(0.0, |a: f32, b| a.max(*b));
    let threshold = THRESHOLD.min(top / 2.0);
    let from = centre.saturating_sub(QRS_BEFORE);
    let to = (centre + QRS_AFTER + 1).min(LENGTH);
    let run = Runs::new(probability, from, to, threshold)
        .filter(|run| run.last >= near.start && run.first < near.end)
        .max_by(|a, b| a.mass.total_cmp(&b.mass));
    let (onset, offset) = run.map_or((r - QRS_HALF, r + QRS_HALF), |run| {
        run.ends(probability, threshold)
    });
    Span {
        onset,
        peak: r,
        offset,
    }
}

/// Neighbouring samples over the threshold.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: usize,
    last: usize,
    /// The sum of their probabilities.
    mass: f32,
}

impl Run {
    /// Where the probability crosses the threshold, drawn straight between samples.
    fn ends(&self, probability: &[f32; LENGTH], threshold: f32) -> (f64, f64) {
        let crossing = |inside: usize, outside: Option<usize>| {
            let (high, low) = (probability[inside], probability[outside?]);
            (high > low).then(|| f64::from((high - threshold) / (high - low)).clamp(0.0, 1.0))
        };
        let before = crossing(self.first, self.first.checked_sub(1));
        let after = crossing(self.last, Some(self.last + 1).filter(|at| *at < LENGTH));
        (
            self.first as f64 - before.unwrap_or(0.0),
            self.last as f64 + after.unwrap_or(0.0),
        )
    }
}

/// The runs of a stretch, in order.
struct Runs<'a> {
    probability: &'a [f32],
    at: usize,
    to: usize,
    threshold: f32,
}

impl<'a> Runs<'a> {
    fn new(probability: &'a [f32; LENGTH], from: usize, to: usize, threshold: f32) -> Self {
        Self {
            probability,
            at: from,
            to: to.min(LENGTH),
            threshold,
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let over = |at: &usize| self.probability[*at] > self.threshold;
        let first = (self.at..self.to).find(over)?;
        let end = (first..self.to).find(|at| !over(at)).unwrap_or(self.to);
        self.at = end;
        Some(Run {
            first,
            last: end - 1,
            mass: self.probability[first..end].iter().sum(),
        })
    }
}

/// Where the signal is farthest from the straight line between the ends of a wave.
fn peak(signal: &[f32; LENGTH], onset: f64, offset: f64) -> f64 {
    let first = index(onset + 0.5).min(LENGTH - 1);
    let last = index(offset + 0.5).clamp(first, LENGTH - 1);
    let (from, to) = (signal[first], signal[last]);
    let height = |at: usize| {
        let along = (at - first) as f32 / (last - first).max(1) as f32;
        signal[at] - from - (to - from) * along
    };
    let farthest = (first..=last).max_by(|a, b| height(*a).abs().total_cmp(&height(*b).abs()));
    let at = farthest.unwrap_or(first);
    if at <= first || at >= last {
        return f64::midpoint(onset, offset);
    }
    // the vertex of the parabola through the three samples
    let (left, middle, right) = (height(at - 1), height(at), height(at + 1));
    let bend = left - 2.0 * middle + right;
    let shift = if bend == 0.0 {
        0.0
    } else {
        f64::from(0.5 * (left - right) / bend).clamp(-0.5, 0.5)
    };
    at as f64 + shift
}

/// The sample that a position falls into; zero before the window.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate, which is what an index wants"
)]
fn index(position: f64) -> usize {
    position.floor() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities with a trapezoid for each `(class, onset, offset)`: one half at both ends.
    fn classes(waves: &[(usize, f64, f64)]) -> [[f32; LENGTH]; N_CLASSES] {
        let mut classes = [[0.0; LENGTH]; N_CLASSES];
        for (class, onset, offset) in waves {
            for (at, value) in classes[*class].iter_mut().enumerate() {
                let inside = (at as f64 - onset).min(offset - at as f64);
                let value_here = (inside * 0.25 + 0.5).clamp(0.0, 1.0);
                #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
                let inside = value_here as f32;
                *value = inside;
            }
        }
        classes
    }

    #[test]
    fn ends_lie_between_samples() {
        let all = [
            (P, 118.25, 130.5),
            (QRS, 139.75, 151.0),
            (T, 170.125, 195.5),
        ];
        let found = waves(&[0.0; LENGTH], &classes(&all), 145.0, None, None);
        let spans = [found.p.unwrap(), found.qrs, found.t.unwrap()];
        for (span, (_, onset, offset)) in spans.iter().zip(all) {
            assert!((span.onset - onset).abs() < 1e-6, "{span:?}");
            assert!((span.offset - offset).abs() < 1e-6, "{span:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let found = waves(&[0.0; LENGTH], &classes(&[]), 145.0, None, None);
        assert_eq!((found.p, found.t), (None, None));
        assert!((found.qrs.peak - 145.0).abs() < 1e-9);
    }

    #[test]
    fn a_doubtful_p_wave_is_faint() {
        let mut classes = classes(&[(P, 118.0, 130.0), (QRS, 139.0, 151.0)]);
        classes[P].iter_mut().for_each(|value| *value *= 0.4);
        let found = waves(&[0.0; LENGTH], &classes, 145.0, None, None);
        assert_eq!(found.p, None);
        assert!(found.faint_p.is_some());
    }

    #[test]
    fn waves_of_the_neighbours_are_theirs() {
        let all = [(P, 60.0, 75.0), (QRS, 139.0, 151.0), (T, 240.0, 260.0)];
        let found = waves(&[0.0; LENGTH], &classes(&all), 145.0, None, Some(215.0));
        assert_eq!((found.p, found.t), (None, None));
    }

    #[test]
    fn the_peak_is_the_vertex() {
        let mut signal = [0.0; LENGTH];
        for (at, value) in signal.iter_mut().enumerate() {
            *value = -(1.0 - ((at as f32 - 180.3) / 20.0).powi(2)).max(0.0);
        }
        assert!((peak(&signal, 162.0, 198.6) - 180.3).abs() < 0.2);
    }
}
