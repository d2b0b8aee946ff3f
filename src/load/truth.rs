//! What must alarm by the truth of the simulator, whatever the twin says: a second check that knows nothing of the first.
//!
//! Only what is beyond doubt counts: an episode that is long enough, with signal around it that was sent, arrived and lies
//! in one record. One that neither service nor twin alarmed on is no loss, but it is said.

use std::collections::HashMap;

use ecg::Condition;
use ecg::simulate::{AvBlock, Contact, Rhythm};

use super::expect::{Expected, State};
use super::link::{Course, Sent, samples_per_packet};

/// Seconds before and after an episode that must be there.
const AROUND: (u64, u64) = (8, 3);
/// How long after its end an alarm may still come, seconds.
const LATE: u64 = 10;

/// Something that must have alarmed.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// What, in a word.
    pub what: &'static str,
    /// In which start of the device.
    pub boot: u16,
    /// The samples in which an alarm must have been decided.
    pub span: std::ops::Range<u64>,
    /// Any of these.
    pub any_of: &'static [Condition],
    /// Whether the twin alarmed.
    pub by_twin: bool,
}

/// What must have alarmed in the first `n` packets of a course.
pub fn happened(course: &Course, n: usize, expected: &Expected) -> Vec<Happened> {
    let sent = &course.sent[..n.min(course.sent.len())];
    let by_second: HashMap<u32, &Sent> = sent.iter().map(|one| (one.second, one)).collect();
    let per_packet = samples_per_packet();
    let length = course.script.bodies.len() as u64;
    let last = by_second
        .keys()
        .max()
        .map_or(0, |last| u64::from(*last) + 1);
    let mut happened = Vec::new();
    for (what, any_of, start, end) in episodes(course) {
        let (first, over) = (start / per_packet, end.div_ceil(per_packet));
        if first < AROUND.0 || over + AROUND.1 > length {
            continue;
        }
        for loop_start in (0..last).step_by(usize::try_from(length).unwrap_or(usize::MAX)) {
            let around = loop_start + first - AROUND.0..loop_start + over + AROUND.1;
            let Some(begin) = u32::try_from(around.start)
                .ok()
                .and_then(|second| by_second.get(&second))
            else {
                continue;
            };
            // Every second was sent, in one record.
            let whole = around.clone().all(|second| {
                let sent = u32::try_from(second).ok().and_then(|s| by_second.get(&s));
                sent.is_some_and(|sent| sent.boot == begin.boot)
            });
            let Some(record) = expected.records.get(&begin.boot).filter(|_| whole) else {
                continue;
            };
            let origin = u64::from(begin.sequence) * per_packet;
            let sample = |at: u64| origin + at + AROUND.0 * per_packet - first * per_packet;
            let from = origin;
            let to = sample(end) + LATE * per_packet;
            let broken = |(&gap, &end): (&u64, &u64)| gap < to && end > from;
            if record.gaps.iter().any(broken) || record.end < to - LATE * per_packet {
                continue;
            }
            let span = sample(start)..to;
            let by_twin = record.steps.iter().any(|step| {
                step.state == State::Active
                    && any_of.contains(&step.condition)
                    && span.contains(&step.at)
            });
            happened.push(Happened {
                what,
                boot: begin.boot,
                span,
                any_of,
                by_twin,
            });
        }
    }
    happened
}

/// The episodes of a script that must alarm: what, how, first sample, first sample after it.
fn episodes(course: &Course) -> Vec<(&'static str, &'static [Condition], u64, u64)> {
    use Condition::{
        Asystole, ExtremeBradycardia, ExtremeTachycardia, HighRate, LeadsOff, LowRate, Pause,
        PulseLost, VentricularFibrillation, VentricularTachycardia,
    };
    let truth = &course.script.truth;
    let hz = course.script.rate.hz();
    let mut all: Vec<(&'static str, &'static [Condition], u64, u64)> = Vec::new();
    for episode in &truth.episodes {
        let (start, end) = (episode.start.0, episode.end.0);
        let seconds = (end - start) as f64 / hz;
        let must: Option<(&'static str, &'static [Condition])> = match episode.rhythm {
            // A pulse alone tells no rhythm.
            Rhythm::Asystole if !course.script.kind.has_ecg() => {
                (seconds >= 8.5).then_some(("pulse lost", &[PulseLost]))
            }
            Rhythm::Asystole if seconds >= 5.5 => Some(("asystole", &[Asystole])),
            Rhythm::VentricularFibrillation if seconds >= 10.0 => Some((
                "ventricular fibrillation",
                &[VentricularFibrillation, VentricularTachycardia, Asystole],
            )),
            Rhythm::VentricularTachycardia { bpm } if seconds >= 8.0 && bpm >= 145.0 => Some((
                "ventricular tachycardia",
                &[
                    VentricularTachycardia,
                    VentricularFibrillation,
                    ExtremeTachycardia,
                ],
            )),
            Rhythm::AvBlock {
                degree: AvBlock::Complete { escape_bpm },
                ..
            } if seconds >= 20.0 && escape_bpm <= 38.0 => Some((
                "complete block",
                &[ExtremeBradycardia, LowRate, Pause, Asystole],
            )),
            Rhythm::Sinus { bpm } if seconds >= 20.0 && bpm >= 148.0 => {
                Some(("sinus tachycardia", &[ExtremeTachycardia, HighRate]))
            }
            Rhythm::Pause { seconds: pause, .. } if seconds >= 12.0 && pause >= 3.15 => {
                Some(("pause", &[Pause, Asystole]))
            }
            _ => None,
        };
        all.extend(must.map(|(what, any_of)| (what, any_of, start, end)));
    }
    // Without the right arm, there is no lead.
    for off in truth
        .contact_off
        .iter()
        .filter(|off| off.contact == Contact::RA)
    {
        let (start, end) = (off.start.0, off.end.0);
        if (end - start) as f64 / hz >= 4.5 {
            all.push(("electrodes off", &[LeadsOff], start, end));
        }
    }
    all
}
