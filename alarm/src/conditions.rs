//! The table of conditions: what is alarmed on, how urgently, and what it gives way to.
//!
//! Documentation, rows and screens read it from here; the numbers in the texts are the defaults of
//! [`Config`](crate::Config).

use ecg::{AlarmKind, Condition, Priority};

/// How one condition is alarmed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// What is wrong.
    pub condition: Condition,
    /// Whether the patient or the equipment is the matter.
    pub kind: AlarmKind,
    /// The priority it is raised with; [`Condition::LeadsOff`] is raised with
    /// [`Priority::Low`] instead while other signals remain.
    pub priority: Priority,
    /// Whether it stands until acknowledged after the condition is over.
    pub latching: bool,
    /// More severe conditions: while one of them is present, this one is neither raised nor kept,
    /// so that of a chain only the most severe is announced.
    pub yields_to: &'static [Condition],
    /// When exactly it is present, and when it ends.
    pub meaning: &'static str,
    /// Where the definition comes from.
    pub source: &'static str,
}

/// Every condition, in the order of [`Condition::ALL`]: most severe first.
pub fn table() -> &'static [Definition] {
    &TABLE
}

/// The line of the table on `condition`.
pub fn definition(condition: Condition) -> &'static Definition {
    // The order is that of the enum; a test holds it.
    &TABLE[condition as usize]
}

const CINC_2015: &str = "PhysioNet/Computing in Cardiology Challenge 2015, alarm definitions";
const MONITOR: &str = "practice of patient monitors; limits per patient";
const TECHNICAL: &str = "IEC 60601-1-8: technical alarm condition";

static TABLE: [Definition; 9] = [
    Definition {
        condition: Condition::Asystole,
        kind: AlarmKind::Physiological,
        priority: Priority::High,
        latching: true,
        yields_to: &[],
        meaning: "no QRS for 4 s of ECG that can be judged; a flat line counts. Ends at the next \
                  QRS, or when the ECG cannot be judged any more",
        source: CINC_2015,
    },
    Definition {
        condition: Condition::ExtremeBradycardia,
        kind: AlarmKind::Physiological,
        priority: Priority::High,
        latching: true,
        yields_to: &[Condition::Asystole],
        meaning: "5 consecutive beats, each of the 4 RR intervals longer than 1.5 s (under 40 a \
                  minute). Ends when 5 beats average 45 a minute or more, or when the beats are \
                  not consecutive any more",
        source: CINC_2015,
    },
    Definition {
        condition: Condition::ExtremeTachycardia,
        kind: AlarmKind::Physiological,
        priority: Priority::High,
        latching: true,
        yields_to: &[Condition::Asystole],
        meaning: "17 consecutive beats that average more than 140 a minute. Ends when 17 beats \
                  average 135 a minute or less, or when the beats are not consecutive any more",
        source: CINC_2015,
    },
    Definition {
        condition: Condition::Pause,
        kind: AlarmKind::Physiological,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[Condition::Asystole],
        meaning: "3 s since the last QRS, in ECG that can be judged. Ends at the next QRS, when \
                  it becomes asystole, or when the ECG cannot be judged any more",
        source: MONITOR,
    },
    Definition {
        condition: Condition::HighRate,
        kind: AlarmKind::Physiological,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[Condition::Asystole, Condition::ExtremeTachycardia],
        meaning: "every rate of the last 5 s over the patient's high limit, of the ECG or, where \
                  that cannot be judged, of the PPG. Ends at a rate 5 a minute inside the limit, \
                  or after 10 s without any rate",
        source: MONITOR,
    },
    Definition {
        condition: Condition::LowRate,
        kind: AlarmKind::Physiological,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[Condition::Asystole, Condition::ExtremeBradycardia],
        meaning: "every rate of the last 5 s under the patient's low limit, of the ECG or, where \
                  that cannot be judged, of the PPG. Ends at a rate 5 a minute inside the limit, \
                  or after 10 s without any rate",
        source: MONITOR,
    },
    Definition {
        condition: Condition::LeadsOff,
        kind: AlarmKind::Technical,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[],
        meaning: "every ECG lead, or every PPG signal, off for 2 s: low priority; all signals of \
                  the device off for 2 s: medium. Ends with the first second that is on again",
        source: TECHNICAL,
    },
    Definition {
        condition: Condition::UnusableSignal,
        kind: AlarmKind::Technical,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[Condition::LeadsOff],
        meaning: "no signal that can be judged for 10 s; gives way to leads off only while no \
                  signal is left. Ends with the first second of any signal that can be judged",
        source: TECHNICAL,
    },
    Definition {
        condition: Condition::NoData,
        kind: AlarmKind::Technical,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[],
        meaning: "nothing arrived from the device for 10 s of wall clock. Ends when samples \
                  beyond the last known one arrive",
        source: TECHNICAL,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_one_line_for_each_condition_in_order() {
        assert_eq!(table().len(), Condition::ALL.len());
        for condition in Condition::ALL {
            let line = definition(condition);
            assert_eq!(line.condition, condition);
            assert_eq!(line.latching, line.priority == Priority::High);
            assert!(line.yields_to.iter().all(|&greater| greater < condition));
        }
    }
}
