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
    /// When it is present: limits and the shortest time.
    pub begins: &'static str,
    /// When it is over: limits and hysteresis.
    pub ends: &'static str,
    /// What it is told from, and what speaks against it.
    pub evidence: &'static str,
    /// Where the definition comes from.
    pub source: &'static str,
}

/// Every condition, in the order of [`Condition::ALL`]: most severe first.
pub fn table() -> &'static [Definition] {
    &TABLE
}

/// The table as Markdown, for `docs/alarms.md`.
pub fn markdown() -> String {
    let line = |line: &Definition| {
        let name = line.condition.name().replace('_', " ");
        let latching = if line.latching { ", latching" } else { "" };
        let technical = match line.kind {
            AlarmKind::Technical => ", technical",
            AlarmKind::Physiological => "",
        };
        let greater = line.yields_to.iter().map(|c| c.name().replace('_', " "));
        format!(
            "| {name} | {}{latching}{technical} | {} | {} | {} | {} | {} |\n",
            line.priority,
            line.begins,
            line.ends,
            greater.collect::<Vec<String>>().join(", "),
            line.evidence,
            line.source
        )
    };
    let head = "| condition | priority | begins | ends | gives way to | told from | source |\n\
                |---|---|---|---|---|---|---|\n";
    std::iter::once(head.to_owned())
        .chain(table().iter().map(line))
        .collect()
}

/// The line of the table on `condition`.
pub fn definition(condition: Condition) -> &'static Definition {
    // The order is that of the enum; a test holds it.
    &TABLE[condition as usize]
}

const CINC_2015: &str = "PhysioNet/Computing in Cardiology Challenge 2015, alarm definitions";
const AHA_2017: &str = "Sandau et al., AHA practice standards for electrocardiographic monitoring, Circulation 136, 2017";
const MONITOR: &str = "practice of patient monitors; limits per patient";
const TECHNICAL: &str = "IEC 60601-1-8: technical alarm condition";

static TABLE: [Definition; 23] = [
    Definition {
        condition: Condition::Asystole,
        kind: AlarmKind::Physiological,
        priority: Priority::High,
        latching: true,
        yields_to: &[],
        begins: "no QRS for 4 s of ECG that can be judged; a flat line counts. Or one QRS in 5.2 s, none in the 2.6 s after it. Or no pulse of the arterial pressure for 2.9 s after a steady one, with a beat that moved no blood and an RR interval of 1.75 s",
        ends: "the next QRS, or ECG that cannot be judged any more",
        evidence: "R peaks and quality of all ECG leads; held back while a pulse of PPG or pressure goes on, until it stops",
        source: CINC_2015,
    },
    Definition {
        condition: Condition::VentricularFibrillation,
        kind: AlarmKind::Physiological,
        priority: Priority::High,
        latching: true,
        yields_to: &[],
        begins: "a probability of flutter or fibrillation of 0.5 and more; a lost pulse multiplies its odds by 8, a steady one by 1/30",
        ends: "5 s under half of that, or a gap",
        evidence: "the waves of the last 4 s on up to three measured leads, and the pulse",
        source: CINC_2015,
    },
    Definition {
        condition: Condition::VentricularTachycardia,
        kind: AlarmKind::Physiological,
        priority: Priority::High,
        latching: true,
        yields_to: &[Condition::VentricularFibrillation],
        begins: "a probability of ventricular tachycardia of 0.5 and more, with three RR intervals on end of 0.7 s or less, or a pulse that is lost or has three odd intervals, which multiplies its odds by 4; one that is little disturbed by 2, none that is clear by 0.35, a steady one by 1/30",
        ends: "5 s under half of that, or a gap",
        evidence: "the waves of the last 4 s and the beats of the last 14 on up to three measured leads, and the pulse",
        source: CINC_2015,
    },
    Definition {
        condition: Condition::ExtremeBradycardia,
        kind: AlarmKind::Physiological,
        priority: Priority::High,
        latching: true,
        yields_to: &[Condition::Asystole, Condition::VentricularFibrillation],
        begins: "5 consecutive beats that average under 43 a minute (40 and what a monitor may be off), and under 46 without the longest RR interval; or 5 such pulses of the arterial pressure while one RR interval is. Where no ECG can be judged: 5 pulses on end whose median interval is that of under 43 a minute, three in four within 20 % of it",
        ends: "5 beats that average 48 a minute or more, and no slower pulse; or beats that are not consecutive any more. By the pulse alone: a pulse of 48 a minute or more, or none that can be judged",
        evidence: "R peaks of all ECG leads and pulses, alone only of a signal usable for 8 of 10 s; held back by a steady pulse over 52 a minute",
        source: CINC_2015,
    },
    Definition {
        condition: Condition::ExtremeTachycardia,
        kind: AlarmKind::Physiological,
        priority: Priority::High,
        latching: true,
        yields_to: &[Condition::Asystole, Condition::VentricularFibrillation],
        begins: "13 consecutive beats that average more than 140 a minute. Where no ECG can be judged: 13 pulses on end whose median interval is that of more than 140 a minute, three in four within 12 % of it",
        ends: "13 beats that average 135 a minute or less, or beats that are not consecutive any more. By the pulse alone: a pulse of 135 a minute or less, or none that can be judged",
        evidence: "R peaks of all ECG leads, or pulses of a signal usable for 8 of 10 s; held back by a steady pulse under 105 a minute",
        source: CINC_2015,
    },
    Definition {
        condition: Condition::Pause,
        kind: AlarmKind::Physiological,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[Condition::Asystole, Condition::VentricularFibrillation],
        begins: "3 s since the last QRS, in ECG that can be judged",
        ends: "the next QRS, asystole, or ECG that cannot be judged any more",
        evidence: "R peaks and quality of all ECG leads; held back while a pulse of PPG or pressure goes on",
        source: AHA_2017,
    },
    Definition {
        condition: Condition::VentricularRun,
        kind: AlarmKind::Physiological,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[
            Condition::VentricularFibrillation,
            Condition::VentricularTachycardia,
        ],
        begins: "three ventricular beats on end and more, over 100 a minute, QRS of 110 ms and more, in a window of 10 s, that are not usual for the patient",
        ends: "the episode: 15 s without another run",
        evidence: "classes of beats of measured leads",
        source: AHA_2017,
    },
    Definition {
        condition: Condition::HighRate,
        kind: AlarmKind::Physiological,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[
            Condition::Asystole,
            Condition::VentricularFibrillation,
            Condition::VentricularTachycardia,
            Condition::ExtremeTachycardia,
        ],
        begins: "every rate of the last 5 s over the patient's high limit, of the ECG or, where that cannot be judged, of the PPG",
        ends: "a rate 5 a minute inside the limit, or 10 s without any rate",
        evidence: "RR or pulse intervals; held back by a steady pulse 5 a minute inside the limit",
        source: MONITOR,
    },
    Definition {
        condition: Condition::LowRate,
        kind: AlarmKind::Physiological,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[
            Condition::Asystole,
            Condition::VentricularFibrillation,
            Condition::VentricularTachycardia,
            Condition::ExtremeBradycardia,
        ],
        begins: "every rate of the last 5 s under the patient's low limit, of the ECG or, where that cannot be judged, of the PPG",
        ends: "a rate 5 a minute inside the limit, or 10 s without any rate",
        evidence: "RR or pulse intervals; held back by a steady pulse 5 a minute inside the limit",
        source: MONITOR,
    },
    Definition {
        condition: Condition::AtrialFibrillation,
        kind: AlarmKind::Physiological,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[],
        begins: "an episode of atrial fibrillation of 30 s and more",
        ends: "the end of the episode",
        evidence: "the rhythm model on one measured lead and RR intervals; where no ECG can tell, the model of pulse waves on a PPG that is usable",
        source: AHA_2017,
    },
    Definition {
        condition: Condition::AvBlock,
        kind: AlarmKind::Physiological,
        priority: Priority::Low,
        latching: false,
        yields_to: &[],
        begins: "first-degree AV block in every window for 60 s, new for the patient",
        ends: "the end of the episode",
        evidence: "PR intervals of measured leads",
        source: AHA_2017,
    },
    Definition {
        condition: Condition::StChange,
        kind: AlarmKind::Physiological,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[
            Condition::VentricularFibrillation,
            Condition::VentricularTachycardia,
        ],
        begins: "ST beyond its limit in every window for 60 s, new for the patient",
        ends: "the end of the episode",
        evidence: "ST 60 and 80 ms after J on measured leads, never on reconstructed ones",
        source: AHA_2017,
    },
    Definition {
        condition: Condition::VentricularBurden,
        kind: AlarmKind::Physiological,
        priority: Priority::Low,
        latching: false,
        yields_to: &[
            Condition::VentricularFibrillation,
            Condition::VentricularTachycardia,
        ],
        begins: "more than 10 ventricular beats in a minute",
        ends: "5 or fewer in a minute, for 5 minutes",
        evidence: "classes of beats of measured leads",
        source: MONITOR,
    },
    Definition {
        condition: Condition::RateTrend,
        kind: AlarmKind::Physiological,
        priority: Priority::Low,
        latching: false,
        yields_to: &[
            Condition::HighRate,
            Condition::LowRate,
            Condition::ExtremeBradycardia,
            Condition::ExtremeTachycardia,
        ],
        begins: "the median rate of 20 minutes more than 30 % and 20 a minute away from that of the hour before",
        ends: "it is within 20 % again, or an hour has passed",
        evidence: "rates of the minutes",
        source: MONITOR,
    },
    Definition {
        condition: Condition::NewFinding,
        kind: AlarmKind::Physiological,
        priority: Priority::Low,
        latching: false,
        yields_to: &[],
        begins: "a finding that is new for the patient, or worse than usual, for 60 s",
        ends: "the end of the episode",
        evidence: "the finding's own; twelve leads, reconstructed ones among them",
        source: MONITOR,
    },
    Definition {
        condition: Condition::LeadsOff,
        kind: AlarmKind::Technical,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[],
        begins: "every ECG lead, or every PPG signal, off for 2 s: low priority; all signals of the device off for 2 s: medium",
        ends: "the first second that is on again",
        evidence: "what the device reports",
        source: TECHNICAL,
    },
    Definition {
        condition: Condition::PulseLost,
        kind: AlarmKind::Technical,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[Condition::LeadsOff],
        begins: "no pulse of PPG or pressure for 6 s, but for some under 30 % of the usual amplitude, after an even one (3 intervals and more, three in four within 20 % of their median) on a signal that could be used, where no ECG can be judged",
        ends: "4 pulses in 6 s on a signal that could be used, none under half of the greatest; ECG that can be judged, every such sensor off, or a gap",
        evidence: "pulses alone: whether the sensor slipped or the heart stands still is for somebody to look at; never announced as asystole",
        source: TECHNICAL,
    },
    Definition {
        condition: Condition::UnusableSignal,
        kind: AlarmKind::Technical,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[Condition::LeadsOff],
        begins: "no signal that can be judged for 10 s; gives way to leads off only while no signal is left",
        ends: "the first second of any signal that can be judged",
        evidence: "the quality of all signals",
        source: TECHNICAL,
    },
    Definition {
        condition: Condition::NoData,
        kind: AlarmKind::Technical,
        priority: Priority::Medium,
        latching: false,
        yields_to: &[],
        begins: "nothing arrived from the device for 10 s of wall clock",
        ends: "samples beyond the last known one",
        evidence: "arrival",
        source: TECHNICAL,
    },
    Definition {
        condition: Condition::DeviceOffline,
        kind: AlarmKind::Technical,
        priority: Priority::Low,
        latching: false,
        yields_to: &[Condition::NoData],
        begins: "the status topic of the device says offline (last will)",
        ends: "it says online, or data arrive",
        evidence: "the status topic",
        source: TECHNICAL,
    },
    Definition {
        condition: Condition::LowBattery,
        kind: AlarmKind::Technical,
        priority: Priority::Low,
        latching: false,
        yields_to: &[],
        begins: "the device reports 15 % or less",
        ends: "it reports 20 % or more",
        evidence: "what the device reports",
        source: TECHNICAL,
    },
    Definition {
        condition: Condition::ClockJump,
        kind: AlarmKind::Technical,
        priority: Priority::Low,
        latching: false,
        yields_to: &[],
        begins: "the clock of the device jumped, or lies beyond what is believed",
        ends: "60 s without another jump",
        evidence: "packet times against arrival",
        source: TECHNICAL,
    },
    Definition {
        condition: Condition::Overloaded,
        kind: AlarmKind::Technical,
        priority: Priority::Low,
        latching: false,
        yields_to: &[],
        begins: "half of the windows of the device, at least 3, were left out, or read without twelve leads, in the last minute",
        ends: "a minute in which every window was read",
        evidence: "the queue of the models",
        source: TECHNICAL,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_shows_this_table() {
        let shown = include_str!("../../docs/alarms.md");
        let table = markdown();
        assert!(
            shown.contains(&table),
            "docs/alarms.md should show this:\n{table}"
        );
    }

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
