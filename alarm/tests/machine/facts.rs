//! Facts as a list, and a machine fed with them in the order a chain would.

use alarm::{Config, Machine};
use ecg::{
    AlarmEvent, Anchor, Beat, BootId, Gap, Layout, Pulse, Quality, QualityReason, Rate, RateSource,
    RecordId, SampleIndex, SampleRate, SignalSpec, Utc, Ventricular,
};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fact {
    Beat(u64),
    Pulse(u64),
    /// A wave a tenth as high.
    WeakPulse(u64),
    Rate(u64, f32, RateSource),
    /// VT and VF of the second with this start and end.
    Ventricular(u64, u64, f32, f32),
    Quality(&'static str, u64, u64, QualityReason),
    Gap(u64, u64),
}

impl Fact {
    /// The least `decided` that says this fact has been given.
    fn decided(&self) -> u64 {
        match *self {
            Fact::Beat(at)
            | Fact::Pulse(at)
            | Fact::WeakPulse(at)
            | Fact::Rate(at, ..)
            | Fact::Gap(at, _) => at + 1,
            Fact::Quality(_, _, end, _) | Fact::Ventricular(_, end, ..) => end,
        }
    }

    /// The last sample it speaks of.
    pub(crate) fn until(&self) -> u64 {
        match *self {
            Fact::Gap(_, end) => end,
            _ => self.decided(),
        }
    }
}

pub(crate) fn record(boot: u32) -> RecordId {
    RecordId {
        device: "wearable".parse().unwrap(),
        boot: BootId(boot),
    }
}

pub(crate) fn layout(signals: &[&str], hz: f64) -> Layout {
    let rate = SampleRate::new(hz).unwrap();
    let specs: Vec<_> = signals
        .iter()
        .map(|name| SignalSpec {
            kind: name.parse().unwrap(),
            rate,
        })
        .collect();
    Layout::new(&specs).unwrap()
}

pub(crate) fn anchor(hz: f64) -> Anchor {
    Anchor {
        index: SampleIndex(0),
        utc: Utc(0),
        hz,
    }
}

pub(crate) fn machine(config: &Config) -> Machine {
    Machine::new(record(1).device, config, config.limits)
}

fn pulse(at: u64, amplitude: f32) -> Pulse {
    Pulse {
        onset: SampleIndex(at),
        steepest: at as f64,
        peak: SampleIndex(at + 1),
        level: 0.0,
        amplitude,
    }
}

pub(crate) fn give(machine: &mut Machine, fact: &Fact) {
    match *fact {
        Fact::Beat(at) => machine.beat(&Beat {
            r_peak: SampleIndex(at),
            class: None,
        }),
        Fact::Pulse(at) => machine.pulse(&pulse(at, 1.0)),
        Fact::WeakPulse(at) => machine.pulse(&pulse(at, 0.1)),
        Fact::Ventricular(start, end, vt, vf) => machine.ventricular(&Ventricular {
            start: SampleIndex(start),
            end: SampleIndex(end),
            vt,
            vf,
            leads: [None; 3],
        }),
        Fact::Rate(at, bpm, source) => machine.rate(&Rate {
            at: SampleIndex(at),
            bpm,
            source,
        }),
        Fact::Quality(signal, start, end, reason) => machine.quality(&Quality {
            signal: signal.parse().unwrap(),
            start: SampleIndex(start),
            end: SampleIndex(end),
            score: if reason == QualityReason::Good {
                1.0
            } else {
                0.0
            },
            reason,
        }),
        Fact::Gap(start, end) => machine.gap(Gap {
            start: SampleIndex(start),
            end: SampleIndex(end),
        }),
    }
}

/// Gives `facts` in portions: before each of the ascending `marks`, those that it says are known.
pub(crate) fn feed(
    machine: &mut Machine,
    facts: &[Fact],
    marks: &[u64],
    out: &mut Vec<AlarmEvent>,
) {
    let mut rest: Vec<&Fact> = facts.iter().collect();
    for &mark in marks {
        rest.retain(|fact| {
            let known = fact.decided() <= mark;
            if known {
                give(machine, fact);
            }
            !known
        });
        machine.decided(SampleIndex(mark), out);
    }
}
