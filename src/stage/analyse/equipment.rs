//! What is wrong with the equipment, from what the device says of itself and from what the models leave out.
//!
//! **Pure: facts go in, what to tell the alarm machine comes out.** Each is told when it changes and once after a start, so
//! that after a restart what stands ends when it is over, and nothing is raised twice.

use std::collections::VecDeque;

use alarm::{Report, Said};
use ecg::{Condition, SampleIndex, SampleRate};
use ingest::{ClockEvent, Status};

/// The battery is low at so many percent and less, and no longer at so many and more.
const LOW_PERCENT: u8 = 15;
const ENOUGH_PERCENT: u8 = 20;
/// A jump of the clock is over after so long without another.
const JUMP_SECONDS: f64 = 60.0;
/// Windows left out are counted over so long.
const WINDOWS_SECONDS: f64 = 60.0;
/// So many, and half of all, are too many.
const MANY: usize = 3;

/// The state of one device's equipment.
#[derive(Debug, Default)]
pub(super) struct Equipment {
    low: Option<bool>,
    away: Option<bool>,
    jumped: Option<bool>,
    /// Where the clock jumped last, or where listening began.
    jump: Option<SampleIndex>,
    /// The windows of the last minute, and whether each was left out.
    windows: VecDeque<(SampleIndex, bool)>,
    /// Where they begin to be known.
    since: Option<SampleIndex>,
    overloaded: Option<bool>,
}

/// What a packet says of the equipment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard<'a> {
    /// How far the record is decided.
    pub(super) at: SampleIndex,
    /// Its base rate.
    pub(super) rate: SampleRate,
    /// The newest battery level, percent.
    pub(super) battery: Option<u8>,
    /// What happened to the clock.
    pub(super) clock: Option<&'a ClockEvent>,
}

impl Equipment {
    /// A packet arrived from the device.
    pub(super) fn packet(&mut self, heard: Heard<'_>) -> Vec<Report> {
        let Heard {
            at,
            rate,
            battery,
            clock,
        } = heard;
        let mut out = Vec::new();
        if changes(&mut self.away, false) {
            out.push(absent(Condition::DeviceOffline, at, "data arrive"));
        }
        match battery {
            Some(percent) if percent <= LOW_PERCENT && changes(&mut self.low, true) => {
                let evidence = format!("{percent} % left");
                out.push(present(Condition::LowBattery, at, evidence));
            }
            Some(percent) if percent >= ENOUGH_PERCENT && changes(&mut self.low, false) => {
                let evidence = format!("{percent} % left");
                out.push(absent(Condition::LowBattery, at, &evidence));
            }
            _ => {}
        }
        let evidence = match clock {
            Some(ClockEvent::Jump { seconds }) => Some(format!("it jumped by {seconds:.1} s")),
            Some(ClockEvent::Lie { ahead_seconds }) => Some(format!(
                "{ahead_seconds:.0} s ahead of arrival, not believed"
            )),
            Some(ClockEvent::Recovered) | None => None,
        };
        // Another record counts from the start.
        let jump = *self.jump.get_or_insert(at);
        if let Some(evidence) = evidence {
            self.jump = Some(at);
            if changes(&mut self.jumped, true) {
                out.push(present(Condition::ClockJump, at, evidence));
            }
        } else if at < jump {
            self.jump = Some(at);
        } else if rate.seconds(at.since(jump)) >= JUMP_SECONDS && changes(&mut self.jumped, false) {
            out.push(absent(Condition::ClockJump, at, "no jump for 60 s"));
        }
        out
    }

    /// The device, or the broker for it, said whether it is there.
    pub(super) fn status(&mut self, status: Status, at: SampleIndex) -> Option<Report> {
        let away = status == Status::Offline;
        if !changes(&mut self.away, away) {
            return None;
        }
        let condition = Condition::DeviceOffline;
        Some(if away {
            present(condition, at, "the device is offline by its status".into())
        } else {
            absent(condition, at, "the device is online by its status")
        })
    }

    /// A window that starts at `start` was read, or left out, if only its twelve leads.
    pub(super) fn window(
        &mut self,
        start: SampleIndex,
        left_out: bool,
        rate: SampleRate,
    ) -> Option<Report> {
        if self.windows.back().is_some_and(|(last, _)| start < *last) {
            // Answers come nearly in order; farther back is another record.
            if rate.seconds(self.windows.back()?.0.since(start)) < WINDOWS_SECONDS {
                return None;
            }
            self.windows.clear();
            self.since = None;
        }
        let since = *self.since.get_or_insert(start);
        self.windows.push_back((start, left_out));
        let minute = rate.count(WINDOWS_SECONDS);
        while self
            .windows
            .pop_front_if(|(first, _)| start.since(*first) >= minute)
            .is_some()
        {}
        let n = self.windows.len();
        let out = self.windows.iter().filter(|(_, out)| *out).count();
        let condition = Condition::Overloaded;
        if out >= MANY && 2 * out >= n && changes(&mut self.overloaded, true) {
            let evidence =
                format!("{out} of {n} windows of a minute left out or read without twelve leads");
            return Some(present(condition, start, evidence));
        }
        let calm = out == 0 && start.since(since) >= minute;
        (calm && changes(&mut self.overloaded, false))
            .then(|| absent(condition, start, "every window of a minute was read"))
    }
}

/// Whether this is news.
fn changes(known: &mut Option<bool>, now: bool) -> bool {
    known.replace(now) != Some(now)
}

fn present(condition: Condition, at: SampleIndex, evidence: String) -> Report {
    Report {
        condition,
        at,
        said: Said::Present {
            onset: at,
            evidence,
        },
    }
}

fn absent(condition: Condition, at: SampleIndex, evidence: &str) -> Report {
    Report {
        condition,
        at,
        said: Said::Absent {
            evidence: evidence.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hz() -> SampleRate {
        SampleRate::new(100.0).unwrap()
    }

    /// What is told of packets each second, by battery and event: second, condition, and whether it is present.
    fn told(
        equipment: &mut Equipment,
        packets: impl IntoIterator<Item = (Option<u8>, Option<ClockEvent>)>,
    ) -> Vec<(u64, Condition, bool)> {
        let mut told = Vec::new();
        for (second, (battery, clock)) in (0..).zip(packets) {
            let reports = equipment.packet(Heard {
                at: SampleIndex(second * 100),
                rate: hz(),
                battery,
                clock: clock.as_ref(),
            });
            told.extend(reports.into_iter().map(|report| {
                let present = matches!(report.said, Said::Present { .. });
                (second, report.condition, present)
            }));
        }
        told
    }

    #[test]
    fn a_battery_is_low_once_until_it_is_charged() {
        let levels = [16, 15, 14, 15, 16, 19, 20, 19, 15];
        let packets = levels.map(|percent| (Some(percent), None));
        let low = |second, present| (second, Condition::LowBattery, present);
        let told = told(&mut Equipment::default(), packets);
        let battery: Vec<_> = told
            .into_iter()
            .filter(|(_, condition, _)| *condition == Condition::LowBattery)
            .collect();
        assert_eq!(battery, [low(1, true), low(6, false), low(8, true)]);
    }

    #[test]
    fn a_jump_is_over_after_a_minute_without_another() {
        let packets = (0..200).map(|second| {
            let jumps = [10, 40].contains(&second);
            (None, jumps.then_some(ClockEvent::Jump { seconds: 5.0 }))
        });
        let told = told(&mut Equipment::default(), packets);
        let jump = |second, present| (second, Condition::ClockJump, present);
        // What stood before a start ends, too.
        let online = (0, Condition::DeviceOffline, false);
        assert_eq!(told, [online, jump(10, true), jump(100, false)]);
    }

    #[test]
    fn a_device_is_away_from_its_word_to_its_next() {
        let mut equipment = Equipment::default();
        let at = SampleIndex(0);
        assert!(equipment.status(Status::Online, at).is_some());
        assert!(equipment.status(Status::Online, at).is_none());
        let away = equipment.status(Status::Offline, at).unwrap();
        assert!(matches!(away.said, Said::Present { .. }));
        let told = told(&mut equipment, [(None, None), (None, None)]);
        assert_eq!(told, [(0, Condition::DeviceOffline, false)]);
    }

    #[test]
    fn half_of_the_windows_left_out_is_too_many() {
        let mut equipment = Equipment::default();
        let mut told = Vec::new();
        // One of three, then two of three, then none.
        for k in 0..60_u64 {
            let out = match k {
                0..15 => k % 3 == 0,
                15..30 => k % 3 != 0,
                _ => false,
            };
            if let Some(report) = equipment.window(SampleIndex(k * 500), out, hz()) {
                told.push((k, matches!(report.said, Said::Present { .. })));
            }
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].1 && (16..26).contains(&told[0].0), "{told:?}");
        assert!(!told[1].1 && (40..43).contains(&told[1].0), "{told:?}");
    }
}
