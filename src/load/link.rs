//! What a link makes of a script: which packets are sent, in which order, when.
//!
//! **Drawn before the play from the plan alone**, so that the twin sees what the service will see. A packet that is lost was
//! never sent; one that is sent twice is there twice; a device that starts anew takes what it has not sent with it.

use std::sync::Arc;

use ecg::{BootId, SampleIndex, Utc};
use ingest::Header;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::plan::{Bad, Plan};
use super::script::{RATE_HZ, Script};

/// A script and what the link makes of it, packet by packet.
#[derive(Debug)]
pub struct Course {
    /// The signals.
    pub script: Arc<Script>,
    /// Packets in the order in which they are sent.
    pub sent: Vec<Sent>,
    /// How many times the device starts, the first time included.
    pub n_boots: u16,
    /// How much faster than true its clock runs, parts per million.
    pub drift_ppm: f64,
}

/// One packet that is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sent {
    /// When, in seconds of signal since the play began.
    pub due: f64,
    /// Which second of the play it holds.
    pub second: u32,
    /// Which start of the device it is from.
    pub boot: u16,
    /// Its number since that start.
    pub sequence: u32,
}

/// Who plays a course: what is in the packets besides the course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Player {
    /// From which the boot ids follow.
    pub boots: u32,
    /// When its first sample is taken, by its own clock.
    pub start: Utc,
}

impl Player {
    /// The id of the `k`-th start.
    pub fn boot(&self, k: u16) -> BootId {
        // An odd multiple, so that no two are the same.
        BootId(
            self.boots
                .wrapping_add(u32::from(k).wrapping_mul(0x9e37_79b9)),
        )
    }

    /// Which start a boot id is of, if it is one of the first `n`.
    pub fn boot_number(&self, boot: BootId, n: u16) -> Option<u16> {
        (0..n).find(|&k| self.boot(k) == boot)
    }
}

impl Course {
    /// The `k`-th course of a plan, over its `k`-th script.
    pub fn new(plan: &Plan, script: Arc<Script>, k: usize) -> Self {
        let seed =
            plan.seed ^ 0x6c69_6e6b_0000_0000 ^ (k as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let chance = &mut StdRng::seed_from_u64(seed);
        let bad = &plan.bad;
        let (sent, n_boots) = draw(bad, plan.seconds, chance);
        let drift_ppm = match bad.drift_ppm {
            most if most > 0.0 => chance.random_range(-most..=most),
            _ => 0.0,
        };
        Self {
            script,
            sent,
            n_boots,
            drift_ppm,
        }
    }

    /// The packet as `player` sends it.
    pub fn payload(&self, sent: &Sent, player: &Player) -> Vec<u8> {
        let seconds = f64::from(sent.second) * (1.0 + self.drift_ppm * 1e-6);
        self.script.body(sent.second).encode(&Header {
            boot: player.boot(sent.boot),
            sequence: u64::from(sent.sequence),
            first_sample: SampleIndex(u64::from(sent.sequence) * samples_per_packet()),
            device_time: player.start.plus_seconds(seconds),
            battery_percent: None,
        })
    }
}

/// Samples of each lead in a packet.
pub fn samples_per_packet() -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number"
    )]
    {
        RATE_HZ as u64
    }
}

/// What is sent in `seconds` of signal, and how many starts there were.
fn draw(bad: &Bad, seconds: u32, chance: &mut StdRng) -> (Vec<Sent>, u16) {
    let mut all: Vec<Sent> = Vec::with_capacity(seconds as usize);
    // What the link holds back to shuffle it.
    let mut group: Vec<Sent> = Vec::new();
    let (mut boot, mut sequence, mut second) = (0_u16, 0_u32, 0_u32);
    let reboots = (bad.reboots / 3600.0).clamp(0.0, 1.0);
    while second < seconds {
        if sequence > 0 && boot < u16::MAX && chance.random_bool(reboots) {
            // What was not sent is gone.
            group.clear();
            let now = f64::from(second);
            while all.last().is_some_and(|last| last.boot == boot) && {
                let last = all.len() - 1;
                all[last].due > now
            } {
                all.pop();
            }
            (boot, sequence) = (boot + 1, 0);
            second += chance.random_range(1..=4);
            continue;
        }
        let due = f64::from(second + 1);
        let one = Sent {
            due,
            second,
            boot,
            sequence,
        };
        (sequence, second) = (sequence + 1, second + 1);
        if chance.random_bool(bad.lose) {
            continue;
        }
        if chance.random_bool(bad.duplicate) {
            group.push(one);
        }
        group.push(one);
        if group.len() >= bad.shuffle as usize || second == seconds {
            send(&mut group, due, bad, chance, &mut all);
        }
    }
    send(&mut group, f64::from(seconds), bad, chance, &mut all);
    (all, boot + 1)
}

/// Sends what was held back, at `now` or later; `all` stays in the order of sending.
fn send(group: &mut Vec<Sent>, now: f64, bad: &Bad, chance: &mut StdRng, all: &mut Vec<Sent>) {
    if bad.shuffle > 1 {
        group.shuffle(chance);
    }
    for mut one in group.drain(..) {
        one.due = now;
        if bad.jitter > 0.0 {
            one.due += chance.random_range(0.0..bad.jitter);
        }
        let after = all.partition_point(|other| other.due <= one.due);
        all.insert(after, one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(bad: Bad, seconds: u32) -> (Vec<Sent>, u16) {
        draw(&bad, seconds, &mut StdRng::seed_from_u64(7))
    }

    #[test]
    fn a_good_link_sends_every_second_when_it_is_over() {
        let (sent, n_boots) = drawn(Bad::default(), 5);
        let all: Vec<(f64, u32, u32)> = sent
            .iter()
            .map(|one| (one.due, one.second, one.sequence))
            .collect();
        let expected = (0..5).map(|k| (f64::from(k + 1), k, k));
        assert_eq!(all, expected.collect::<Vec<_>>());
        assert_eq!(n_boots, 1);
    }

    #[test]
    fn a_bad_link_is_as_bad_as_it_was_asked_to_be_and_the_same_again() {
        let bad = Bad {
            lose: 0.05,
            duplicate: 0.03,
            shuffle: 2,
            jitter: 2.5,
            reboots: 60.0,
            drift_ppm: 0.0,
        };
        let (sent, n_boots) = drawn(bad, 20_000);
        assert_eq!(drawn(bad, 20_000), (sent.clone(), n_boots));
        let near = |n: usize, expected: f64| (n as f64 - expected).abs() < 0.15 * expected;
        assert!(near(usize::from(n_boots), 20_000.0 / 60.0), "{n_boots}");
        let mut once: Vec<(u16, u32)> = sent.iter().map(|one| (one.boot, one.sequence)).collect();
        once.sort_unstable();
        once.dedup();
        assert!(near(sent.len() - once.len(), 0.03 * 19_000.0));
        assert!(sent.is_sorted_by(|a, b| a.due <= b.due));
        // Nothing of an earlier start comes after one of a later.
        assert!(sent.is_sorted_by(|a, b| a.boot <= b.boot));
        let overtaken = sent
            .windows(2)
            .filter(|two| two[0].boot == two[1].boot && two[0].sequence > two[1].sequence);
        assert!(overtaken.count() > 1000);
        for one in &sent {
            assert!(one.due >= f64::from(one.second + 1));
        }
    }

    #[test]
    fn boot_ids_differ_and_are_told_again() {
        let player = Player {
            boots: 0xffff_fff0,
            start: Utc(0),
        };
        for k in 0..300 {
            assert_eq!(player.boot_number(player.boot(k), 300), Some(k));
        }
        assert_eq!(player.boot_number(player.boot(9), 9), None);
    }
}
