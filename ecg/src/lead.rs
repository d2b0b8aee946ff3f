//! ECG leads, PPG wavelengths, and where a lead comes from.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// An ECG lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the twelve standard leads document themselves")]
pub enum Lead {
    I,
    II,
    III,
    AVR,
    AVL,
    AVF,
    V1,
    V2,
    V3,
    V4,
    V5,
    V6,
    /// An ECG lead whose electrode positions were not stated, such as a handheld recorder's
    /// "ECG" or an unnamed chest lead. Good for beats and rhythm, never part of the twelve.
    Unstated,
}

impl Lead {
    /// The twelve standard leads in their usual order, that of `[lead, sample]` arrays.
    pub const TWELVE: [Lead; 12] = [
        Lead::I,
        Lead::II,
        Lead::III,
        Lead::AVR,
        Lead::AVL,
        Lead::AVF,
        Lead::V1,
        Lead::V2,
        Lead::V3,
        Lead::V4,
        Lead::V5,
        Lead::V6,
    ];

    /// The eight leads that the other four follow from.
    pub const INDEPENDENT: [Lead; 8] = [
        Lead::I,
        Lead::II,
        Lead::V1,
        Lead::V2,
        Lead::V3,
        Lead::V4,
        Lead::V5,
        Lead::V6,
    ];

    /// What of I and of II add up to this limb lead, by Einthoven and Goldberger; `None` for a lead of the chest.
    pub fn of_i_and_ii(self) -> Option<(f64, f64)> {
        match self {
            Lead::I => Some((1.0, 0.0)),
            Lead::II => Some((0.0, 1.0)),
            Lead::III => Some((-1.0, 1.0)),
            Lead::AVR => Some((-0.5, -0.5)),
            Lead::AVL => Some((1.0, -0.5)),
            Lead::AVF => Some((-0.5, 1.0)),
            _ => None,
        }
    }

    /// The row of this lead in a `[12, sample]` array, `None` for [`Lead::Unstated`].
    pub fn row(self) -> Option<usize> {
        (self != Lead::Unstated).then_some(self as usize)
    }

    /// The name as printed on an ECG; `ECG` for [`Lead::Unstated`].
    pub fn name(self) -> &'static str {
        match self {
            Lead::I => "I",
            Lead::II => "II",
            Lead::III => "III",
            Lead::AVR => "aVR",
            Lead::AVL => "aVL",
            Lead::AVF => "aVF",
            Lead::V1 => "V1",
            Lead::V2 => "V2",
            Lead::V3 => "V3",
            Lead::V4 => "V4",
            Lead::V5 => "V5",
            Lead::V6 => "V6",
            Lead::Unstated => "ECG",
        }
    }
}

impl fmt::Display for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Lead {
    type Err = Error;

    /// Reads a lead by its name, in any case; `MLII`, the modified lead of Holter recorders, is II.
    fn from_str(name: &str) -> Result<Self, Error> {
        if name.eq_ignore_ascii_case("MLII") {
            return Ok(Lead::II);
        }
        Lead::TWELVE
            .into_iter()
            .chain([Lead::Unstated])
            .find(|lead| lead.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| Error::Lead(name.chars().take(80).collect()))
    }
}

/// Where the samples of a lead come from. It travels with every lead to the database row and to
/// the pixel on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeadOrigin {
    /// Electrodes of the device.
    Measured,
    /// Exact, by the laws of Einthoven and Goldberger, from two measured limb leads.
    Derived,
    /// A model's estimate. Never the only evidence of a high-priority alarm.
    Reconstructed,
    /// Unknown: no electrode, and no model for this set of leads.
    Absent,
}

impl LeadOrigin {
    /// The word for it in rows and JSON.
    pub fn name(self) -> &'static str {
        match self {
            LeadOrigin::Measured => "measured",
            LeadOrigin::Derived => "derived",
            LeadOrigin::Reconstructed => "reconstructed",
            LeadOrigin::Absent => "absent",
        }
    }
}

impl fmt::Display for LeadOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LeadOrigin {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        [
            Self::Measured,
            Self::Derived,
            Self::Reconstructed,
            Self::Absent,
        ]
        .into_iter()
        .find(|origin| origin.name() == name)
        .ok_or_else(|| Error::Word {
            what: "lead origin",
            value: name.to_owned(),
        })
    }
}

/// The colour of the light of a PPG signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "colours document themselves")]
pub enum Wavelength {
    Green,
    Red,
    Infrared,
    /// Not said, as for the PLETH of a bedside monitor.
    Unstated,
}

/// An axis of an accelerometer; which way it points is the device's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "axes document themselves")]
pub enum Axis {
    X,
    Y,
    Z,
}

impl Axis {
    /// All three.
    pub const ALL: [Self; 3] = [Self::X, Self::Y, Self::Z];
}

/// What a signal is: an ECG lead in mV, a photoplethysmogram in arbitrary units, arterial blood pressure in mmHg, or how the
/// device is accelerated along an axis, gravity included, in g.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the type's comment says it")]
pub enum SignalKind {
    Ecg(Lead),
    Ppg(Wavelength),
    Abp,
    Acceleration(Axis),
}

impl SignalKind {
    /// The ECG lead, if it is one.
    pub fn lead(self) -> Option<Lead> {
        match self {
            SignalKind::Ecg(lead) => Some(lead),
            SignalKind::Ppg(_) | SignalKind::Abp | SignalKind::Acceleration(_) => None,
        }
    }

    /// Whether it shows the pulse: PPG or arterial pressure.
    pub fn has_pulse(self) -> bool {
        matches!(self, SignalKind::Ppg(_) | SignalKind::Abp)
    }

    /// Whether it is about the patient's heart at all.
    pub fn is_vital(self) -> bool {
        self.lead().is_some() || self.has_pulse()
    }

    /// The name on the wire, in rows and on screens: a lead's name, `PPG`, `PPG-green`,
    /// `PPG-red`, `PPG-infrared`, `ABP`, `ACC-X`, `ACC-Y` or `ACC-Z`.
    pub fn name(self) -> &'static str {
        match self {
            SignalKind::Ecg(lead) => lead.name(),
            SignalKind::Ppg(Wavelength::Green) => "PPG-green",
            SignalKind::Ppg(Wavelength::Red) => "PPG-red",
            SignalKind::Ppg(Wavelength::Infrared) => "PPG-infrared",
            SignalKind::Ppg(Wavelength::Unstated) => "PPG",
            SignalKind::Abp => "ABP",
            SignalKind::Acceleration(Axis::X) => "ACC-X",
            SignalKind::Acceleration(Axis::Y) => "ACC-Y",
            SignalKind::Acceleration(Axis::Z) => "ACC-Z",
        }
    }
}

impl fmt::Display for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SignalKind {
    type Err = Error;

    /// Reads the names of [`SignalKind::name`] in any case; WFDB's `PLETH` is `PPG`, and `ART` is `ABP`.
    fn from_str(name: &str) -> Result<Self, Error> {
        if name.eq_ignore_ascii_case("PLETH") {
            return Ok(SignalKind::Ppg(Wavelength::Unstated));
        }
        if name.eq_ignore_ascii_case("ABP") || name.eq_ignore_ascii_case("ART") {
            return Ok(SignalKind::Abp);
        }
        [
            Wavelength::Green,
            Wavelength::Red,
            Wavelength::Infrared,
            Wavelength::Unstated,
        ]
        .into_iter()
        .map(SignalKind::Ppg)
        .chain(Axis::ALL.map(SignalKind::Acceleration))
        .find(|kind| kind.name().eq_ignore_ascii_case(name))
        .or_else(|| name.parse().ok().map(SignalKind::Ecg))
        .ok_or_else(|| Error::SignalKind(name.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limb_leads_obey_goldberger() {
        let weights = |lead: Lead| lead.of_i_and_ii().unwrap();
        let sum = Lead::TWELVE[3..6].iter().fold((0.0, 0.0), |sum, lead| {
            (sum.0 + weights(*lead).0, sum.1 + weights(*lead).1)
        });
        assert_eq!(sum, (0.0, 0.0));
        for lead in Lead::TWELVE {
            let follows = !Lead::INDEPENDENT.contains(&lead);
            assert_eq!(lead.of_i_and_ii().is_some(), follows || lead < Lead::III);
        }
    }

    #[test]
    fn names_round_trip() {
        for (row, lead) in Lead::TWELVE.into_iter().enumerate() {
            assert_eq!(lead.row(), Some(row));
            assert_eq!(
                lead.name().parse::<SignalKind>().unwrap(),
                SignalKind::Ecg(lead)
            );
        }
        for kind in ["PPG", "PPG-green", "PPG-red", "PPG-infrared", "ABP", "ECG"] {
            assert_eq!(kind.parse::<SignalKind>().unwrap().name(), kind);
            assert!(kind.parse::<SignalKind>().unwrap().is_vital());
        }
        for kind in ["ACC-X", "ACC-Y", "ACC-Z"] {
            assert_eq!(kind.parse::<SignalKind>().unwrap().name(), kind);
            assert!(!kind.parse::<SignalKind>().unwrap().is_vital());
        }
        assert_eq!("avr".parse::<Lead>().unwrap(), Lead::AVR);
        assert_eq!("MLII".parse::<Lead>().unwrap(), Lead::II);
        assert_eq!("V7".parse::<Lead>(), Err(Error::Lead("V7".into())));
    }
}
