//! The heart as one moving dipole, and the lead field that turns it into electrode potentials.
//!
//! A wave is a vector that swells and fades along a Gaussian of time; a beat is a few of them.
//!
//! Reference: P. E. `McSharry` et al., IEEE TBME 50(3), 2003, doi:10.1109/TBME.2003.808805 (Gaussian waves);
//! Sameni et al., EURASIP J. Adv. Signal Process., 2007, doi:10.1155/2007/43407 (three-dimensional
//! dipole, electrodes); Dower et al., J. Electrocardiol. 13(4), 1980 (lead field).
//! Differs in: waves are placed in seconds around each R peak rather than on a limit cycle, so that PR,
//! QRS and QT follow the rate each in its own way; waves may rise and fall at different speeds.

use super::chance::{Chance, Purpose};

/// A dipole, mV, in Frank's axes: to the left, to the feet, to the back.
pub(super) type Vector = [f64; 3];

/// The electrodes: RA, LA, LL, V1 to V6, in the order of [`Contact`](super::Contact).
pub(super) const N_ELECTRODES: usize = 9;

/// Leads I, II and V1 to V6 of a dipole, after Dower.
const DOWER: [Vector; 8] = [
    [0.632, -0.235, 0.059],
    [0.235, 1.066, -0.132],
    [-0.515, 0.157, -0.917],
    [0.044, 0.164, -1.387],
    [0.882, 0.098, -1.277],
    [1.213, 0.127, -0.601],
    [1.125, 0.127, -0.086],
    [0.831, 0.076, 0.230],
];

/// Wilson's central terminal is the zero of the potentials: the three limbs add up to nothing.
#[derive(Debug, Clone)]
pub(super) struct LeadField([Vector; N_ELECTRODES]);

impl LeadField {
    /// The lead field of a patient: chest electrodes are never placed twice in the same way.
    pub(super) fn new(chance: &mut Chance) -> Self {
        let mut field = [[0.0; 3]; N_ELECTRODES];
        for axis in 0..3 {
            let (i, ii) = (DOWER[0][axis], DOWER[1][axis]);
            let ra = -(i + ii) / 3.0;
            field[0][axis] = ra;
            field[1][axis] = ra + i;
            field[2][axis] = ra + ii;
        }
        for (electrode, dower) in field[3..].iter_mut().zip(&DOWER[2..]) {
            for (to, from) in electrode.iter_mut().zip(dower) {
                *to = from * chance.between(0.9, 1.1);
            }
        }
        Self(field)
    }

    /// Adds the potentials of `dipole` (three rows of `n` samples) to the rows of `potentials`.
    pub(super) fn project(&self, dipole: &[f64], potentials: &mut [f64], n: usize) {
        for (row, weights) in potentials.chunks_exact_mut(n).zip(&self.0) {
            for (axis, &weight) in dipole.chunks_exact(n).zip(weights) {
                for (to, from) in row.iter_mut().zip(axis) {
                    *to += weight * from;
                }
            }
        }
    }
}

fn lead_ii(vector: Vector) -> f64 {
    DOWER[1].iter().zip(vector).map(|(a, b)| a * b).sum()
}

/// One wave: `vector` at `center`, Gaussian before and after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wave {
    pub(super) vector: Vector,
    /// Seconds.
    pub(super) center: f64,
    /// Standard deviation before the centre, seconds.
    pub(super) rise: f64,
    /// Standard deviation after the centre, seconds.
    pub(super) fall: f64,
}

impl Wave {
    /// Beyond so many standard deviations a wave is nothing: 1e-5 of its height.
    const REACH: f64 = 4.8;
    /// Where an eye sees a wave begin and end, in standard deviations.
    const EDGE: f64 = 2.4;

    const fn symmetric(vector: Vector, center: f64, width: f64) -> Self {
        Self {
            vector,
            center,
            rise: width,
            fall: width,
        }
    }

    fn height(&self, t: f64) -> f64 {
        let from = t - self.center;
        let width = if from < 0.0 { self.rise } else { self.fall };
        let z = from / width;
        (-0.5 * z * z).exp()
    }

    fn onset(&self) -> f64 {
        self.center - Self::EDGE * self.rise
    }

    fn offset(&self) -> f64 {
        self.center + Self::EDGE * self.fall
    }

    /// When it is over.
    pub(super) fn end(&self) -> f64 {
        self.center + Self::REACH * self.fall
    }

    fn moved(mut self, by: f64, gain: f64) -> Self {
        self.center += by;
        self.vector = self.vector.map(|x| x * gain);
        self
    }

    /// Adds it to `dipole`, three rows of `n` samples of which the first is sample `first` of the record.
    pub(super) fn render(&self, dipole: &mut [f64], n: usize, first: u64, hz: f64) {
        let begin = ((self.center - Self::REACH * self.rise) * hz).ceil() - first as f64;
        let end = (self.end() * hz).ceil() - first as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=n first"
        )]
        let (begin, end) = (
            begin.clamp(0.0, n as f64) as usize,
            end.clamp(0.0, n as f64) as usize,
        );
        for k in begin..end {
            let height = self.height((first + k as u64) as f64 / hz);
            for (axis, x) in self.vector.into_iter().enumerate() {
                dipole[axis * n + k] += height * x;
            }
        }
    }
}

/// Onset, peak and offset of a wave, seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) onset: f64,
    pub(super) peak: f64,
    pub(super) offset: f64,
}

/// A few waves at once, such as a QRS complex, shifted so that its extremum in lead II is at 0.
#[derive(Debug, Clone)]
struct Complex {
    waves: Vec<Wave>,
    onset: f64,
    offset: f64,
}

impl Complex {
    fn new(mut waves: Vec<Wave>) -> Self {
        let onset = waves.iter().map(Wave::onset).fold(f64::INFINITY, f64::min);
        let offset = waves
            .iter()
            .map(Wave::offset)
            .fold(f64::NEG_INFINITY, f64::max);
        let height = |t: f64| -> f64 {
            let sum: f64 = waves.iter().map(|w| lead_ii(w.vector) * w.height(t)).sum();
            sum.abs()
        };
        let mut peak = onset;
        let mut t = onset;
        while t < offset {
            if height(t) > height(peak) {
                peak = t;
            }
            t += 0.0005;
        }
        for wave in &mut waves {
            wave.center -= peak;
        }
        Self {
            waves,
            onset: onset - peak,
            offset: offset - peak,
        }
    }

    fn extent(&self, peak: f64) -> Extent {
        Extent {
            onset: peak + self.onset,
            peak,
            offset: peak + self.offset,
        }
    }

    fn place(&self, peak: f64, gain: f64, waves: &mut Vec<Wave>) {
        waves.extend(self.waves.iter().map(|wave| wave.moved(peak, gain)));
    }
}

/// Where a P wave comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Atrium {
    Sinus,
    Ectopic,
}

/// Where the ventricles are excited from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Through the conduction system: narrow.
    Conducted,
    /// From the ventricle: wide, another axis, discordant T wave.
    Ventricular,
}

/// What makes one patient's ECG differ from another's.
#[derive(Debug, Clone)]
pub(super) struct Patient {
    pub(super) lead_field: LeadField,
    /// P onset to QRS onset at rest, seconds.
    pub(super) pr: f64,
    /// QT at 60 beats a minute, seconds.
    qtc: f64,
    /// Respiratory arrhythmia: relative depth.
    pub(super) rsa: f64,
    /// Breaths per second.
    pub(super) breath_hz: f64,
    pub(super) breath_phase: f64,
    /// R peak to the foot of the pulse, seconds.
    pub(super) transit: f64,
    p: Complex,
    ectopic_p: Complex,
    conducted: Complex,
    ventricular: Complex,
    /// Vectors of the T waves.
    t: Vector,
    discordant_t: Vector,
}

impl Patient {
    pub(super) fn new(seed: u64, left_bundle_branch_block: bool) -> Self {
        let chance = &mut Chance::new(seed, Purpose::Patient);
        let (frontal, horizontal) = (chance.between(-10.0, 16.0), chance.between(-8.0, 8.0));
        let gain = chance.between(0.85, 1.2);
        let width = chance.between(0.92, 1.18);
        let qrs = |vector: Vector, center: f64, sd: f64| {
            let vector = turned(vector, frontal, horizontal).map(|x| x * gain);
            Wave::symmetric(vector, center * width, sd * width)
        };
        let conducted = Complex::new(if left_bundle_branch_block {
            // From the right across the septum, then slowly to the left and back.
            vec![
                qrs([0.35, 0.25, 0.25], -0.03, 0.014),
                qrs([0.75, 0.45, 0.8], 0.01, 0.018),
                qrs([0.6, 0.2, 0.5], 0.045, 0.014),
            ]
        } else {
            // Septum to the right and front, free wall to the left, base to the back.
            vec![
                qrs([-0.13, -0.08, -0.26], -0.025, 0.007),
                qrs([1.0, 0.75, 0.2], 0.0, 0.011),
                qrs([-0.15, -0.10, 0.62], 0.022, 0.010),
            ]
        });
        // From the left ventricle V1 is upright and II is not; from the outflow tract the reverse.
        let (early, late) = if chance.unit() < 0.5 {
            ([0.2, -0.5, -0.5], [-0.6, -0.9, -0.8])
        } else {
            ([0.3, 0.5, -0.1], [0.7, 1.0, 0.8])
        };
        let ventricular = Complex::new(vec![qrs(early, -0.026, 0.017), qrs(late, 0.020, 0.023)]);
        let t_turn = (
            frontal + chance.between(-8.0, 8.0),
            chance.between(-10.0, 10.0),
        );
        let t_gain = chance.between(0.8, 1.25);
        let t = if left_bundle_branch_block {
            [-0.24, -0.12, -0.3]
        } else {
            [0.24, 0.19, -0.2]
        };
        let p_gain = chance.between(0.85, 1.2);
        let p = |right: Vector, left: Vector| {
            let wave = |v: Vector, c| Wave::symmetric(v.map(|x| x * p_gain), c, 0.0155);
            Complex::new(vec![wave(right, -0.014), wave(left, 0.014)])
        };
        Self {
            lead_field: LeadField::new(chance),
            pr: chance.between(0.13, 0.185),
            qtc: chance.between(0.385, 0.435),
            rsa: chance.between(0.02, 0.06),
            breath_hz: chance.between(0.2, 0.3),
            breath_phase: chance.between(0.0, std::f64::consts::TAU),
            transit: chance.between(0.205, 0.24),
            p: p([0.03, 0.07, -0.05], [0.06, 0.06, 0.03]),
            ectopic_p: p([0.01, -0.06, -0.03], [-0.04, -0.07, 0.02]),
            conducted,
            ventricular,
            t: turned(t, t_turn.0, t_turn.1).map(|x| x * t_gain),
            discordant_t: turned(late, frontal, horizontal).map(|x| -0.33 * gain * x),
        }
    }

    /// Where in the breath the patient is, -1 to 1.
    pub(super) fn breath(&self, t: f64) -> f64 {
        (std::f64::consts::TAU * self.breath_hz * t + self.breath_phase).sin()
    }

    /// Adds the QRS complex and T wave of a beat whose R peak is at `r`; `rr` is what the QT interval
    /// has adapted to, seconds.
    pub(super) fn ventricles(
        &self,
        origin: Origin,
        r: f64,
        rr: f64,
        gain: f64,
        waves: &mut Vec<Wave>,
    ) -> (Extent, Extent) {
        // Fridericia: QT follows the cube root of RR.
        let mut qt = self.qtc * rr.cbrt();
        let (complex, vector) = match origin {
            Origin::Conducted => (&self.conducted, self.t),
            Origin::Ventricular => {
                qt += 0.05;
                (&self.ventricular, self.discordant_t)
            }
        };
        complex.place(r, gain, waves);
        let qrs = complex.extent(r);
        let (rise, fall) = (0.125 * qt, 0.085 * qt);
        let t = Wave {
            vector: vector.map(|x| x * gain),
            center: qrs.onset + qt - Wave::EDGE * fall,
            rise,
            fall,
        };
        waves.push(t);
        let t = Extent {
            onset: t.onset().max(qrs.offset),
            peak: t.center,
            offset: t.offset(),
        };
        (qrs, t)
    }

    /// Adds a P wave that begins at `onset`.
    pub(super) fn atria(&self, atrium: Atrium, onset: f64, waves: &mut Vec<Wave>) -> Extent {
        let complex = match atrium {
            Atrium::Sinus => &self.p,
            Atrium::Ectopic => &self.ectopic_p,
        };
        let peak = onset - complex.onset;
        complex.place(peak, 1.0, waves);
        complex.extent(peak)
    }

    /// Where a conducted QRS complex begins, seconds from its R peak.
    pub(super) fn qrs_onset(&self) -> f64 {
        self.conducted.onset
    }
}

/// `v` turned in the frontal plane (clockwise as seen from the front) and in the horizontal one, degrees.
fn turned([x, y, z]: Vector, frontal: f64, horizontal: f64) -> Vector {
    let (sin, cos) = frontal.to_radians().sin_cos();
    let (x, y) = (x * cos - y * sin, x * sin + y * cos);
    let (sin, cos) = horizontal.to_radians().sin_cos();
    [x * cos - z * sin, y, x * sin + z * cos]
}
