//! The words of alarms, after IEC 60601-1-8. Using them claims no conformity.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::{Error, RecordId, SampleIndex, Utc};

/// The namespace of the name-based ids below.
const NAMESPACE: Uuid = Uuid::from_u128(0x6e1f_0b5c_93d4_5f0e_9d5a_1903_0e17_40c6);

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// No QRS for 4 s.
    Asystole,
    /// Ventricular flutter or fibrillation: oscillation without QRS complexes.
    VentricularFibrillation,
    /// Five ventricular beats on end and more, over 100 a minute.
    VentricularTachycardia,
    /// Under 40 beats a minute, and what a monitor may be off, for 5 beats.
    ExtremeBradycardia,
    /// Over 140 beats a minute for 13 beats.
    ExtremeTachycardia,
    /// An interval without a beat that is long, but shorter than asystole.
    Pause,
    /// Three or four ventricular beats on end, or more that are slower than a tachycardia.
    VentricularRun,
    /// The rate is over the patient's high limit.
    HighRate,
    /// The rate is under the patient's low limit.
    LowRate,
    /// Atrial fibrillation; the alarm begins and ends with the episode.
    AtrialFibrillation,
    /// The conduction from atria to ventricles is delayed.
    AvBlock,
    /// The ST level is beyond its limit on measured leads.
    StChange,
    /// Many ventricular beats in a minute.
    VentricularBurden,
    /// The rate drifts away from what it was in the hour before.
    RateTrend,
    /// A diagnostic finding that is new for the patient, or worse than usual.
    NewFinding,
    /// The device reports an electrode or the sensor off.
    LeadsOff,
    /// The pulse of a device without usable ECG is gone though its signal was good: of the sensor or of the heart, it cannot
    /// tell.
    PulseLost,
    /// No signal is good enough to find beats in.
    UnusableSignal,
    /// Nothing arrives from the device.
    NoData,
    /// The device said that it goes away, or the broker says so for it (last will).
    DeviceOffline,
    /// The battery of the device is almost empty.
    LowBattery,
    /// The clock of the device jumped or cannot be believed.
    ClockJump,
    /// The analysis cannot keep up: windows of this device are left out.
    Overloaded,
}

impl Condition {
    /// Every condition, most severe first.
    pub const ALL: [Condition; 23] = [
        Self::Asystole,
        Self::VentricularFibrillation,
        Self::VentricularTachycardia,
        Self::ExtremeBradycardia,
        Self::ExtremeTachycardia,
        Self::Pause,
        Self::VentricularRun,
        Self::HighRate,
        Self::LowRate,
        Self::AtrialFibrillation,
        Self::AvBlock,
        Self::StChange,
        Self::VentricularBurden,
        Self::RateTrend,
        Self::NewFinding,
        Self::LeadsOff,
        Self::PulseLost,
        Self::UnusableSignal,
        Self::NoData,
        Self::DeviceOffline,
        Self::LowBattery,
        Self::ClockJump,
        Self::Overloaded,
    ];

    /// The word for it in rows, labels, JSON and configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asystole => "asystole",
            Self::VentricularFibrillation => "ventricular_fibrillation",
            Self::VentricularTachycardia => "ventricular_tachycardia",
            Self::ExtremeBradycardia => "extreme_bradycardia",
            Self::ExtremeTachycardia => "extreme_tachycardia",
            Self::Pause => "pause",
            Self::VentricularRun => "ventricular_run",
            Self::HighRate => "high_rate",
            Self::LowRate => "low_rate",
            Self::AtrialFibrillation => "atrial_fibrillation",
            Self::AvBlock => "av_block",
            Self::StChange => "st_change",
            Self::VentricularBurden => "ventricular_burden",
            Self::RateTrend => "rate_trend",
            Self::NewFinding => "new_finding",
            Self::LeadsOff => "leads_off",
            Self::PulseLost => "pulse_lost",
            Self::UnusableSignal => "unusable_signal",
            Self::NoData => "no_data",
            Self::DeviceOffline => "device_offline",
            Self::LowBattery => "low_battery",
            Self::ClockJump => "clock_jump",
            Self::Overloaded => "overloaded",
        }
    }
}

impl Condition {
    /// Whether it is a rhythm, of which the signals at its end are shown too.
    pub fn is_rhythm(self) -> bool {
        matches!(
            self,
            Self::Asystole
                | Self::VentricularFibrillation
                | Self::VentricularTachycardia
                | Self::Pause
                | Self::AtrialFibrillation
        )
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Condition {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|condition| condition.name() == name)
            .ok_or_else(|| Error::Word {
                what: "alarm condition",
                value: name.to_owned(),
            })
    }
}

/// Whether the patient or the equipment is the matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the type's comment says it")]
pub enum AlarmKind {
    Physiological,
    Technical,
}

impl AlarmKind {
    /// The word for it in rows and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Physiological => "physiological",
            Self::Technical => "technical",
        }
    }
}

/// How soon somebody must act. Ordered: `High` is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Awareness.
    Low,
    /// Prompt response.
    Medium,
    /// Immediate response.
    High,
}

impl Priority {
    /// The word for it in rows, labels and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Priority {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        [Self::Low, Self::Medium, Self::High]
            .into_iter()
            .find(|priority| priority.name() == name)
            .ok_or_else(|| Error::Word {
                what: "priority",
                value: name.to_owned(),
            })
    }
}

/// One occurrence of a condition on a record, from its onset until it is cleared.
///
/// The id is computed from record, condition and onset, so the same samples always give the same
/// alarm: storing it twice stores it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlarmId(pub Uuid);

impl AlarmId {
    /// The id of the occurrence of `condition` that began at `onset` of `record`.
    pub fn new(record: &RecordId, condition: Condition, onset: SampleIndex) -> Self {
        let name = format!("{record}/{condition}/{onset}");
        Self(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }

    /// What the signals at the end of this occurrence are kept under; those at its onset are under its own id.
    #[must_use]
    pub fn at_end(self) -> Self {
        Self(Uuid::new_v5(&self.0, b"end"))
    }
}

impl fmt::Display for AlarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an alarm stands.
///
/// ```text
///            condition ends, latching          acknowledged
///   Active ---------------------------> Latched ----------+
///     |  \                                                v
///     |   +-- condition ends, not latching ----------> Cleared
///     | acknowledged                                      ^
///     v                  condition ends                   |
///   Acknowledged -----------------------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlarmState {
    /// The condition is present and nobody has acknowledged it.
    Active,
    /// The condition is present and somebody has acknowledged it.
    Acknowledged,
    /// The condition is over, but a high-priority alarm stands until somebody acknowledges it.
    Latched,
    /// Over. Final.
    Cleared,
}

impl AlarmState {
    /// Every state.
    pub const ALL: [AlarmState; 4] = [
        Self::Active,
        Self::Acknowledged,
        Self::Latched,
        Self::Cleared,
    ];

    /// The word for it in rows and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Acknowledged => "acknowledged",
            Self::Latched => "latched",
            Self::Cleared => "cleared",
        }
    }
}

impl fmt::Display for AlarmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AlarmState {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| Error::Word {
                what: "alarm state",
                value: name.to_owned(),
            })
    }
}

/// One step in the life of an alarm. Append-only: the alarm as it stands is the last of them.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmEvent {
    /// The alarm it belongs to.
    pub alarm: AlarmId,
    /// The record it was raised on.
    pub record: RecordId,
    /// What is wrong.
    pub condition: Condition,
    /// Whether the patient or the equipment is the matter.
    pub kind: AlarmKind,
    /// How soon somebody must act.
    pub priority: Priority,
    /// The state entered.
    pub state: AlarmState,
    /// Where the condition began, for example the last beat before an asystole.
    pub onset: SampleIndex,
    /// The sample that decided this step.
    pub at: SampleIndex,
    /// Estimated UTC of `at`; for an acknowledgement, when it was given.
    pub utc: Utc,
    /// Who acknowledged, for that step only: a name given by the caller.
    pub by: Option<String>,
    /// Why, in one line with the numbers it rests on: `"no QRS for 4.0 s, rate before 72/min"`.
    pub evidence: String,
}

impl AlarmEvent {
    /// The id of this step. An alarm enters each state at most once, so alarm and state name it.
    pub fn id(&self) -> Uuid {
        Uuid::new_v5(&self.alarm.0, self.state.name().as_bytes())
    }
}

/// An alarm that was not raised although its rule was met, and why: kept, so that what was held back can be judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Suppression {
    /// The alarm that it would have been.
    pub alarm: AlarmId,
    /// The record.
    pub record: RecordId,
    /// What seemed to be wrong.
    pub condition: Condition,
    /// How urgent it would have been.
    pub priority: Priority,
    /// Where the condition seemed to begin.
    pub onset: SampleIndex,
    /// The sample at which the alarm was due.
    pub at: SampleIndex,
    /// Estimated UTC of `at`.
    pub utc: Utc,
    /// What spoke for it: `"no QRS for 4.0 s, rate before 72/min"`.
    pub evidence: String,
    /// What spoke against it: `"5 pulses on PPG at 71/min"`.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_what_happened_and_nothing_else() {
        let record = |device: &str, boot| RecordId {
            device: device.parse().unwrap(),
            boot: crate::BootId(boot),
        };
        let id = AlarmId::new(&record("a", 1), Condition::Asystole, SampleIndex(7));
        assert_eq!(
            id,
            AlarmId::new(&record("a", 1), Condition::Asystole, SampleIndex(7))
        );
        for other in [
            AlarmId::new(&record("b", 1), Condition::Asystole, SampleIndex(7)),
            AlarmId::new(&record("a", 2), Condition::Asystole, SampleIndex(7)),
            AlarmId::new(&record("a", 1), Condition::Pause, SampleIndex(7)),
            AlarmId::new(&record("a", 1), Condition::Asystole, SampleIndex(8)),
        ] {
            assert_ne!(id, other);
        }
        assert_ne!(id.at_end(), id);
        assert_ne!(id.at_end(), id.at_end().at_end());
    }

    #[test]
    fn words_round_trip() {
        for condition in Condition::ALL {
            assert_eq!(condition.name().parse::<Condition>().unwrap(), condition);
        }
        for state in AlarmState::ALL {
            assert_eq!(state.name().parse::<AlarmState>().unwrap(), state);
        }
        assert!(Priority::High > Priority::Medium && Priority::Medium > Priority::Low);
    }
}
