//! How restless the wearer is over the day: what noise is multiplied with.

use super::rhythm::within;
use crate::Error;

/// A line through given points, level before the first and after the last; 1 where there are none.
#[derive(Debug, Clone, Default)]
pub(super) struct Unrest {
    points: Vec<(f64, f64)>,
    /// The last point at or before the time asked for last.
    k: usize,
}

impl Unrest {
    pub(super) fn new(points: &[(f64, f64)]) -> Result<Self, Error> {
        let mut earliest = 0.0;
        for &(at, factor) in points {
            within("seconds of a change of unrest", at, earliest, 1e9)?;
            within("unrest", factor, 0.0, 10.0)?;
            earliest = at;
        }
        Ok(Self {
            points: points.to_vec(),
            k: 0,
        })
    }

    /// Whether noise is as it is set throughout.
    pub(super) fn is_level(&self) -> bool {
        self.points.is_empty()
    }

    /// The factor at `t` seconds. Times may come in any order; those that go forward are fast.
    pub(super) fn at(&mut self, t: f64) -> f64 {
        let points = &self.points;
        if points.get(self.k).is_some_and(|point| point.0 > t) {
            self.k = 0;
        }
        while points.get(self.k + 1).is_some_and(|next| next.0 <= t) {
            self.k += 1;
        }
        match (points.get(self.k), points.get(self.k + 1)) {
            (None, _) => 1.0,
            (Some(&(from, before)), Some(&(to, after))) if t > from => {
                before + (after - before) * (t - from) / (to - from)
            }
            (Some(&(_, factor)), _) => factor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_line_through_the_points() {
        let mut level = Unrest::new(&[]).unwrap();
        assert!(level.is_level());
        let same = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(same(level.at(1e6), 1.0));
        let mut unrest = Unrest::new(&[(10.0, 1.0), (20.0, 3.0), (20.0, 0.5)]).unwrap();
        for (t, factor) in [
            (0.0, 1.0),
            (10.0, 1.0),
            (15.0, 2.0),
            (20.0, 0.5),
            (99.0, 0.5),
        ] {
            assert!(same(unrest.at(t), factor), "{t}");
        }
        // Backwards.
        assert!(same(unrest.at(12.5), 1.5));
        assert!(Unrest::new(&[(10.0, 1.0), (9.0, 1.0)]).is_err());
        assert!(Unrest::new(&[(0.0, f64::NAN)]).is_err());
    }
}
