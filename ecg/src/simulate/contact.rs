//! Electrodes that come off, and what an amplifier makes of them.
//!
//! An open input either runs to the rail or floats and picks up the mains. Each planned span does always
//! the same.

use std::f64::consts::TAU;

use super::chance::{Chance, Purpose};
use super::rhythm::within;
use super::truth::{Contact, ContactOff};
use super::{RAIL_MV, Scenario};
use crate::{Error, SampleIndex, SampleRate};

/// A time without contact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OffSpan {
    /// Which electrode or sensor.
    pub contact: Contact,
    /// When it comes off, seconds from the start of the record; with [`Scenario::repeat`], of each cycle.
    pub start: f64,
    /// How long it stays off, seconds; may be infinite.
    pub seconds: f64,
}

/// What the potential of an open input does.
#[derive(Debug, Clone, Copy)]
enum Open {
    /// Stays at so many mV.
    Rail(f64),
    /// Swings so many mV high.
    Floating(f64),
}

/// One occurrence of a planned span that touches a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occurrence {
    pub(super) off: ContactOff,
    open: Open,
}

#[derive(Debug, Clone)]
pub(super) struct Contacts {
    plan: Vec<(OffSpan, Open)>,
    cycle: Option<f64>,
    rate: SampleRate,
    mains_hz: f64,
}

impl Contacts {
    pub(super) fn new(scenario: &Scenario, cycle: Option<f64>) -> Result<Self, Error> {
        let chance = &mut Chance::new(scenario.seed, Purpose::ContactOff);
        let mut plan = Vec::with_capacity(scenario.contact_off.len());
        for span in &scenario.contact_off {
            within(
                "start of a contact off",
                span.start,
                0.0,
                cycle.unwrap_or(1e9),
            )?;
            let longest = cycle.unwrap_or(f64::INFINITY);
            within("seconds of a contact off", span.seconds, 0.0, longest)?;
            let sign = if chance.unit() < 0.5 { -1.0 } else { 1.0 };
            let open = if chance.unit() < 0.7 {
                // Far enough for a third of it, in Wilson's terminal, to saturate the chest leads.
                Open::Rail(sign * 4.0 * RAIL_MV)
            } else {
                Open::Floating(chance.between(0.3, 2.0))
            };
            plan.push((*span, open));
        }
        Ok(Self {
            plan,
            cycle,
            rate: scenario.rate,
            mains_hz: scenario.noise.mains_hz,
        })
    }

    /// The occurrences in `start..end`, cut to it, by start.
    pub(super) fn between(&self, start: SampleIndex, end: SampleIndex) -> Vec<Occurrence> {
        let mut found = Vec::new();
        for &(span, open) in &self.plan {
            // A repeated span is no longer than a cycle: it cannot reach beyond the next one.
            let seconds = |at: SampleIndex| at.0 as f64 / self.rate.hz();
            let mut shift = self.cycle.map_or(0.0, |cycle| {
                ((seconds(start) / cycle).floor() - 1.0).max(0.0) * cycle
            });
            loop {
                let at = |t: f64| SampleIndex(self.rate.count(t + shift).0);
                let off = ContactOff {
                    contact: span.contact,
                    start: at(span.start).max(start),
                    end: at(span.start + span.seconds).min(end),
                };
                if off.start < off.end {
                    found.push(Occurrence { off, open });
                }
                match self.cycle {
                    Some(cycle) if shift + cycle < seconds(end) => shift += cycle,
                    _ => break,
                }
            }
        }
        found.sort_by_key(|occurrence| (occurrence.off.start, occurrence.off.contact));
        found
    }

    /// Replaces the potentials of the electrode that is off, in rows of `n` samples from sample `first`.
    pub(super) fn open(&self, at: &Occurrence, potentials: &mut [f64], n: usize, first: u64) {
        if at.off.contact == Contact::Ppg {
            return;
        }
        let electrode = at.off.contact as usize;
        let row = &mut potentials[electrode * n..(electrode + 1) * n];
        for (k, x) in row.iter_mut().enumerate() {
            let sample = first + k as u64;
            if sample < at.off.start.0 || sample >= at.off.end.0 {
                continue;
            }
            *x = match at.open {
                Open::Rail(mv) => mv,
                Open::Floating(mv) => {
                    let turns = self.mains_hz * (sample as f64 / self.rate.hz());
                    mv * (TAU * turns.fract()).sin()
                }
            };
        }
    }
}
