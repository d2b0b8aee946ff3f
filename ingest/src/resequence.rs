//! Puts the packets of one device in order and turns what never came into gaps.
//!
//! **Contract.** Packets go in as they arrive, and out comes the record in sample order: each sample
//! once or in exactly one [`Gap`]. What comes out does not depend on the order of arrival, as long as no
//! packet of a record arrives more than the horizon of signal after its turn. Time is sample time; no
//! clock is read.
//!
//! ```text
//!            position                            a hole is given up (Gap) once the signal behind it,
//!               v                                from its end to the latest sample held, is longer
//!   released ===|      |==|====|  |====|         than the horizon
//!                 hole   held  hole
//! ```
//!
//! How a packet is judged, in this order:
//!
//! 1. Of another boot than the current one: of a boot that has ended, it is late; else the device has
//!    started again: everything held is released, the record ends, another begins.
//! 2. Its sequence number was released, is held or lies in a hole given up: duplicate or late.
//! 3. It overlaps what was released or is held: inconsistent.
//! 4. Otherwise it is held, and whatever is now in order is released.
//!
//! A record begins at sequence number 0, or at the lowest one held when the horizon has passed (the
//! service started in the middle of it). Sequence numbers without a hole but samples with one mean that the
//! device lost samples itself: nothing to wait for, a gap at once. A layout that changes within a boot
//! ends the record and begins another at that position.
//!
//! Memory is bounded: at most [`Config::max_held_packets`] and [`Config::max_held_samples`] are held, and
//! the ranges of sequence numbers given up are remembered for the latest 64 holes only (a packet of an
//! older hole counts as duplicate; it is dropped either way). A gap is one value however long it is.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use ecg::{Block, BootId, Gap, Layout, SampleIndex, Utc};
use serde::{Deserialize, Serialize};

use crate::Packet;

/// Boots and holes remembered; a device that exceeds this is no longer told late from duplicate or new.
const MAX_BOOTS: usize = 8;
const MAX_HOLES: usize = 64;

/// How long to wait, and how much to hold meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How much signal may be held behind a missing packet before it is given up.
    #[serde(with = "humantime_serde")]
    pub horizon: Duration,
    /// Packets held of one device.
    pub max_held_packets: usize,
    /// Samples of all signals held of one device.
    pub max_held_samples: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            horizon: Duration::from_secs(2),
            max_held_packets: 256,
            max_held_samples: 200_000,
        }
    }
}

/// The record of a device, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Ordered {
    /// A record begins.
    Start {
        /// The boot it belongs to.
        boot: BootId,
        /// Its signals.
        layout: Layout,
        /// Its first sample.
        at: SampleIndex,
    },
    /// The samples of one packet; they follow what came before.
    Block {
        /// The samples in mV.
        block: Block,
        /// When the first of them was taken, by the device's clock.
        device_time: Utc,
        /// The number of the packet they came in.
        sequence: u64,
        /// Charge of the device's battery, if it says.
        battery_percent: Option<u8>,
    },
    /// Samples that never came, or came too late.
    Gap(Gap),
    /// The record ends.
    End {
        /// The boot it belonged to.
        boot: BootId,
        /// The position after its last sample.
        at: SampleIndex,
    },
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Released or held.
    Accepted,
    /// Released or held, but for lack of room the oldest hole was given up before its time.
    Crowded,
    /// It was there before: dropped.
    Duplicate,
    /// Its place was given up before it came: dropped.
    Late,
    /// It is of a boot that has ended: dropped.
    PreviousBoot,
    /// Its samples overlap those of other packets: dropped.
    Inconsistent,
    /// It alone is more than may be held: dropped.
    Full,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 7] = [
        Self::Accepted,
        Self::Crowded,
        Self::Duplicate,
        Self::Late,
        Self::PreviousBoot,
        Self::Inconsistent,
        Self::Full,
    ];

    /// The word for it in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Crowded => "crowded",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
            Self::PreviousBoot => "previous_boot",
            Self::Inconsistent => "inconsistent",
            Self::Full => "full",
        }
    }

    /// Whether the samples of the packet come out, now or later.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Accepted | Self::Crowded)
    }
}

/// Where the record being released stands.
#[derive(Debug)]
struct Record {
    layout: Layout,
    /// The sample that must come next.
    position: SampleIndex,
    /// The sequence number that must come next.
    next: u64,
    /// Ranges of sequence numbers given up, oldest first.
    holes: VecDeque<Range<u64>>,
}

/// Puts the packets of one device in order. See the module comment.
#[derive(Debug)]
pub struct Resequencer {
    config: Config,
    boot: Option<BootId>,
    /// `None` until the start of the current boot's record is known.
    record: Option<Record>,
    /// By sequence number, which is also the order of their samples; none overlaps another.
    held: BTreeMap<u64, Packet>,
    held_samples: usize,
    previous_boots: VecDeque<BootId>,
}

impl Resequencer {
    /// A resequencer for a device of which nothing is known yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            boot: None,
            record: None,
            held: BTreeMap::new(),
            held_samples: 0,
            previous_boots: VecDeque::new(),
        }
    }

    /// Packets held at the moment.
    pub fn n_held(&self) -> usize {
        self.held.len()
    }

    /// Takes a packet and appends to `ordered` what is in order now.
    pub fn push(&mut self, packet: Packet, ordered: &mut Vec<Ordered>) -> Outcome {
        if packet.n_samples() > self.config.max_held_samples {
            return Outcome::Full;
        }
        if self.boot != Some(packet.boot) {
            if self.previous_boots.contains(&packet.boot) {
                return Outcome::PreviousBoot;
            }
            self.end(ordered);
            self.boot = Some(packet.boot);
        }
        if let Some(refusal) = self.refusal(&packet) {
            return refusal;
        }
        let mut outcome = Outcome::Accepted;
        // A packet whose turn it is takes no room: it leaves at once.
        while !self.continues(&packet)
            && (self.held.len() >= self.config.max_held_packets.max(1)
                || self.held_samples + packet.n_samples() > self.config.max_held_samples)
        {
            outcome = Outcome::Crowded;
            self.release_first(ordered);
            self.release_in_order(ordered);
            // Giving up a hole may have been giving up this very packet's place.
            if let Some(refusal) = self.refusal(&packet) {
                return refusal;
            }
        }
        self.held_samples += packet.n_samples();
        self.held.insert(packet.sequence, packet);
        self.release_in_order(ordered);
        while self.held_behind_hole() > self.config.horizon.as_secs_f64() {
            self.release_first(ordered);
            self.release_in_order(ordered);
        }
        outcome
    }

    /// Releases everything held, giving up every hole: the device has fallen silent.
    pub fn flush(&mut self, ordered: &mut Vec<Ordered>) {
        while !self.held.is_empty() {
            self.release_first(ordered);
        }
    }

    /// Releases everything held and ends the record, if there is one: the boot is over.
    pub fn end(&mut self, ordered: &mut Vec<Ordered>) {
        self.flush(ordered);
        if let Some(boot) = self.boot.take() {
            if self.previous_boots.len() == MAX_BOOTS {
                self.previous_boots.pop_front();
            }
            self.previous_boots.push_back(boot);
            if let Some(record) = self.record.take() {
                let at = record.position;
                ordered.push(Ordered::End { boot, at });
            }
        }
    }

    /// Cases 2 and 3 of the module comment.
    fn refusal(&self, packet: &Packet) -> Option<Outcome> {
        if let Some(record) = &self.record {
            if packet.sequence < record.next {
                let given_up = |hole: &Range<u64>| hole.contains(&packet.sequence);
                return Some(if record.holes.iter().any(given_up) {
                    Outcome::Late
                } else {
                    Outcome::Duplicate
                });
            }
            if is_before(packet, &record.layout, record.position) {
                return Some(Outcome::Inconsistent);
            }
        }
        if self.held.contains_key(&packet.sequence) {
            return Some(Outcome::Duplicate);
        }
        let before = self.held.range(..packet.sequence).next_back();
        let after = self.held.range(packet.sequence..).next();
        let overlaps = before.is_some_and(|(_, before)| overlap(before, packet))
            || after.is_some_and(|(_, after)| overlap(packet, after));
        overlaps.then_some(Outcome::Inconsistent)
    }

    /// Releases the first packets held for as long as nothing is missing before them.
    fn release_in_order(&mut self, ordered: &mut Vec<Ordered>) {
        while let Some((_, packet)) = self.held.first_key_value() {
            if !self.continues(packet) {
                break;
            }
            self.release_first(ordered);
        }
    }

    /// Whether nothing is missing before a packet.
    fn continues(&self, packet: &Packet) -> bool {
        match &self.record {
            None => packet.sequence == 0,
            Some(record) => {
                packet.sequence == record.next
                    || (packet.first_sample == record.position && packet.layout == record.layout)
            }
        }
    }

    /// Seconds of signal from the start of the first packet held to the end of the last.
    fn held_behind_hole(&self) -> f64 {
        let ends = self.held.first_key_value().zip(self.held.last_key_value());
        ends.map_or(0.0, |((_, first), (_, last))| {
            let seconds =
                |packet: &Packet, at: SampleIndex| at.0 as f64 / packet.layout.base_rate().hz();
            if first.layout.base_rate() == last.layout.base_rate() {
                let span = last.end().since(first.first_sample);
                first.layout.base_rate().seconds(span)
            } else {
                seconds(last, last.end()) - seconds(first, first.first_sample)
            }
        })
    }

    /// Releases the first packet held, giving up whatever is missing before it.
    fn release_first(&mut self, ordered: &mut Vec<Ordered>) {
        let Some((sequence, packet)) = self.held.pop_first() else {
            return;
        };
        self.held_samples -= packet.n_samples();
        let at = packet.first_sample;
        if let Some(record) = &mut self.record {
            let end = in_rate_of(&packet, at, &record.layout);
            if end > record.position {
                let start = record.position;
                ordered.push(Ordered::Gap(Gap { start, end }));
                record.position = end;
            }
            if sequence > record.next {
                record.give_up(record.next..sequence);
            }
            if packet.layout != record.layout {
                ordered.push(Ordered::End {
                    boot: packet.boot,
                    at: record.position,
                });
                record.layout = packet.layout.clone();
                ordered.push(start_of(&packet));
            }
            record.position = packet.end();
            record.next = sequence + 1;
        } else {
            ordered.push(start_of(&packet));
            let mut record = Record {
                layout: packet.layout.clone(),
                position: packet.end(),
                next: sequence + 1,
                holes: VecDeque::new(),
            };
            if sequence > 0 {
                record.give_up(0..sequence);
            }
            self.record = Some(record);
        }
        ordered.push(Ordered::Block {
            block: packet.to_block(),
            device_time: packet.device_time,
            sequence,
            battery_percent: packet.battery_percent,
        });
    }
}

impl Record {
    fn give_up(&mut self, sequences: Range<u64>) {
        if self.holes.len() == MAX_HOLES {
            self.holes.pop_front();
        }
        self.holes.push_back(sequences);
    }
}

fn start_of(packet: &Packet) -> Ordered {
    Ordered::Start {
        boot: packet.boot,
        layout: packet.layout.clone(),
        at: packet.first_sample,
    }
}

/// `at` of a packet, counted at the base rate of another layout of the same boot.
fn in_rate_of(packet: &Packet, at: SampleIndex, layout: &Layout) -> SampleIndex {
    packet.layout.base_rate().convert(at, layout.base_rate())
}

/// Whether a packet begins before `position`, which counts at the base rate of `layout`.
fn is_before(packet: &Packet, layout: &Layout, position: SampleIndex) -> bool {
    let rate = packet.layout.base_rate();
    packet.first_sample < layout.base_rate().convert(position, rate)
}

/// Whether the samples of `first` reach beyond the start of `second`.
fn overlap(first: &Packet, second: &Packet) -> bool {
    is_before(second, &first.layout, first.end())
}

#[cfg(test)]
mod tests;
