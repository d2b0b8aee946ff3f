//! Which way a pulse wave points.

/// In standard deviations, slopes are taken for no more than this.
const MOST: f32 = 3.0;
/// The least of them that tell anything.
const LEAST: f32 = 100.0;
/// Where slopes lean further to the falling side than this, the wave points down.
///
/// Finger clips of intensive care, which point up, reach it in so few seconds that their pulses come out as without it; turned over,
/// nine of ten usable seconds stay usable (Challenge 2015).
const DOWN: f32 = -0.5;

/// How far the slopes of 10 s of a pulse wave lean to the rising side: their skewness, with the greatest cut
/// off; `None` where there are too few, or none but zero. Those that are no number are passed over.
///
/// Blood comes faster than it goes, so of a wave that points upwards, with the volume of blood, it is positive; the light that
/// blood absorbs makes the raw reading of many optical sensors point downwards.
fn lean(slopes: &[f32]) -> Option<f32> {
    let slopes = slopes.iter().filter(|slope| !slope.is_nan());
    let (n, power) = slopes.clone().fold((0.0, 0.0), |(n, power), slope| {
        (n + 1.0, power + slope * slope)
    });
    let spread: f32 = (power / n).sqrt();
    if n < LEAST || !spread.is_finite() || spread <= 0.0 {
        return None;
    }
    let cut = slopes.map(|slope| (slope / spread).clamp(-MOST, MOST));
    let (second, third) = cut.fold((0.0, 0.0), |(second, third), x| {
        (second + x * x, third + x * x * x)
    });
    Some(third / n / f32::powf(second / n, 1.5).max(f32::MIN_POSITIVE))
}

/// Whether a wave with these slopes points down, so that it is to be turned over before its pulses are looked for. In doubt it
/// does not.
pub fn points_down(slopes: &[f32]) -> bool {
    lean(slopes).is_some_and(|lean| lean < DOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_that_rises_faster_than_it_falls_points_up() {
        // Rises in a fifth of its period.
        let slope = |k: u32| if k % 50 < 10 { 4.0 } else { -1.0 };
        let up: Vec<f32> = (0..500).map(slope).collect();
        assert!(lean(&up).unwrap() > 1.0);
        assert!(!points_down(&up));
        let down: Vec<f32> = up.iter().map(|slope| -1e3 * slope).collect();
        assert!(points_down(&down));
        // What is no number is passed over.
        let holes: Vec<f32> = down.iter().flat_map(|slope| [*slope, f32::NAN]).collect();
        assert!(points_down(&holes));
        // As fast as it falls, a few samples, or nothing that moves: nothing to go by.
        let even: Vec<f32> = (0..500)
            .map(|k| if k % 50 < 25 { 1.0 } else { -1.0 })
            .collect();
        assert!(!points_down(&even));
        assert_eq!(lean(&down[..99]), None);
        for nothing in [0.0, f32::MAX, f32::INFINITY, f32::NAN] {
            assert_eq!(lean(&[nothing; 500]), None);
        }
    }
}
