//! One device from packets to effects, and the packets whose effects are not durable yet.
//!
//! **Synchronous: packet and `now` in, [`Effects`] and releasable acks out.**
//!
//! # The ack contract
//!
//! A packet's ack is released when nothing needs the packet any more, should the service stop:
//!
//! * all that was derived from it is committed, and so much more that what follows can be
//!   derived without it: the record's watermark, less what late facts lag behind it, is
//!   [`dsp::Chain::MEMORY_SECONDS`] past its end, or the record has ended; and
//! * no window that reaches back to it is still on its way, and no strip of an alarm whose signals it is the start or
//!   the warming up of: a strip that is made again after a restart is the same to the last bit.
//!
//! A duplicate takes the place of its original where the original came over a connection that is lost: it is the broker's
//! second try. Otherwise, and where the original was released, it can have no effect. Packets that can have none
//! (malformed, late, such duplicates) are released at once. So a device that sends the same again and again holds
//! nothing up, neither its own record's end nor, since acks leave in order, the acks of others.
//!
//! A device that sends in tiny packets holds `MAX_HELD` of them at most: beyond, what is durable is released, and a
//! restart finds the filters of this device cold. Much the same is released of every device where the broker may send no more
//! before something is acknowledged ([`Device::make_room`]); if that is not enough, the record is closed whose packet all
//! acknowledgements wait for ([`Device::close`]): else all would wait for each other for ever.

use ecg::{Anchor, BootId, DeviceId, Layout, RecordId, SampleIndex, Utc};
use ingest::mqtt::Ack;
use ingest::{Clock, ClockEvent, Ordered, Packet, Resequencer};
use store::Resume;

use crate::monitor::{Effects, Monitor};

/// Packets held of one device for the memory of a restart. Packets of a second need 27.
const MAX_HELD: usize = 1000;

/// What acknowledges a packet.
pub trait Acknowledge {
    /// Whether anybody waits for it.
    fn is_owed(&self) -> bool;

    /// Whether all others wait for it.
    fn is_next(&self) -> bool {
        false
    }
}

impl Acknowledge for Ack {
    fn is_owed(&self) -> bool {
        Ack::is_owed(self)
    }

    fn is_next(&self) -> bool {
        Ack::is_next(self)
    }
}

/// Where packets come from a file.
impl Acknowledge for () {
    fn is_owed(&self) -> bool {
        true
    }
}

/// A device and its unacknowledged packets; `A` is what acknowledges one.
pub struct Device<A> {
    id: DeviceId,
    resequencer: Resequencer,
    clock_config: ingest::clock::Config,
    /// Seconds of signal that a restart needs before the watermark.
    memory_seconds: f64,
    /// The boot and layout being received, and its clock.
    current: Option<(BootId, Layout, Clock)>,
    monitor: Monitor,
    /// What was durable when the service started; used up by the first record.
    resume: Option<Resume>,
    /// Packets that wait for their effects to become durable, oldest first.
    held: Vec<Held<A>>,
    /// The open record, if the signal chain refused its layout.
    refused: Option<BootId>,
    /// How far the newest commits reach, by record.
    durable: Option<Watermark>,
    /// What the models have not answered yet.
    in_flight: Vec<Sent>,
    /// When data arrived last that were not there before.
    last_arrival: Option<Utc>,
    /// The newest battery level the device reported, percent.
    battery_percent: Option<u8>,
    ordered: Vec<Ordered>,
}

struct Held<A> {
    boot: BootId,
    sequence: u64,
    end: SampleIndex,
    rate_hz: f64,
    arrived: Utc,
    /// Its record has ended, and durably so.
    is_over: bool,
    ack: A,
}

/// How far one record is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// The record's boot.
    pub boot: BootId,
    /// Everything before it is committed.
    pub durable_until: SampleIndex,
    /// Nothing more will come of it.
    pub ended: bool,
}

/// A window or strip on its way through the models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The boot it is from.
    pub boot: BootId,
    /// Its first sample.
    pub start: SampleIndex,
    /// It is the strip of an alarm: should the service stop, it is made again, by filters as warm as they were. A window
    /// is not.
    pub strip: bool,
}

impl Sent {
    /// What begins at `start` of a boot, a strip or a window.
    pub fn new(boot: BootId, start: SampleIndex, strip: bool) -> Self {
        Self { boot, start, strip }
    }
}

/// What became of a packet, for the counters.
#[derive(Debug, Default, PartialEq)]
pub struct Receipt {
    /// Why it was dropped, if it was: a bounded label.
    pub lost: Option<&'static str>,
    /// Blocks that came out in order.
    pub blocks: u64,
    /// Samples in them, all signals.
    pub samples: u64,
    /// Samples that never came.
    pub gap_samples: u64,
    /// Something about the device's clock.
    pub clock_event: Option<ClockEvent>,
}

impl<A: Acknowledge> Device<A> {
    /// A device; `resume` is what is durable of it. With `warm_up`, packets are held as long as a
    /// restart needs them to build its memory on.
    pub fn new(
        id: DeviceId,
        resequence: &ingest::resequence::Config,
        clock: &ingest::clock::Config,
        warm_up: bool,
        monitor: Monitor,
        resume: Option<Resume>,
    ) -> Self {
        Self {
            id,
            resequencer: Resequencer::new(resequence.clone()),
            clock_config: clock.clone(),
            memory_seconds: if warm_up {
                dsp::Chain::MEMORY_SECONDS + dsp::Chain::LATE_SECONDS
            } else {
                0.0
            },
            current: None,
            monitor,
            resume,
            held: Vec::new(),
            refused: None,
            durable: None,
            in_flight: Vec::new(),
            last_arrival: None,
            battery_percent: None,
            ordered: Vec::new(),
        }
    }

    /// The signals and alarms of the device.
    pub fn monitor(&mut self) -> &mut Monitor {
        &mut self.monitor
    }

    /// The same, to look at.
    pub fn view(&self) -> &Monitor {
        &self.monitor
    }

    /// When data arrived last that were not there before.
    pub fn last_arrival(&self) -> Option<Utc> {
        self.last_arrival
    }

    /// The newest battery level the device reported, percent.
    pub fn battery_percent(&self) -> Option<u8> {
        self.battery_percent
    }

    /// How many packets wait to be acknowledged.
    pub fn n_held(&self) -> usize {
        self.held.len()
    }

    /// When the oldest of the packets arrived that wait to be acknowledged.
    pub fn oldest_held(&self) -> Option<Utc> {
        self.held.first().map(|held| held.arrived)
    }

    /// Takes one packet. Acks come back of packets that can have no effect.
    pub fn packet(
        &mut self,
        packet: Packet,
        ack: A,
        now: Utc,
        effects: &mut Effects,
    ) -> (Receipt, Vec<A>) {
        self.battery_percent = packet.battery_percent.or(self.battery_percent);
        let (boot, sequence, end) = (packet.boot, packet.sequence, packet.end());
        let rate_hz = packet.layout.base_rate().hz();
        let outcome = self.resequencer.push(packet, &mut self.ordered);
        let lost = (!outcome.is_kept()).then(|| outcome.name());
        let mut receipt = Receipt {
            lost,
            ..Receipt::default()
        };
        let mut released = Vec::new();
        if outcome.is_kept() {
            // What was there before is no sign of life: a device may repeat itself for ever.
            self.last_arrival = Some(now);
            self.monitor.arrival(now);
            self.held.push(Held {
                boot,
                sequence,
                end,
                rate_hz,
                arrived: now,
                is_over: false,
                ack,
            });
        } else {
            let original = |held: &&mut Held<A>| held.boot == boot && held.sequence == sequence;
            match self.held.iter_mut().find(original) {
                Some(held) if !held.ack.is_owed() => {
                    released.push(std::mem::replace(&mut held.ack, ack));
                }
                _ => released.push(ack),
            }
        }
        self.release(now, effects, &mut receipt);
        if let Some(refused) = self.refused {
            // Nothing will come of the packets of a record that the chain refused.
            receipt.lost = receipt.lost.or(Some("layout"));
            released.extend(
                self.held
                    .extract_if(.., |held| held.boot == refused)
                    .map(|held| held.ack),
            );
        }
        (receipt, released)
    }

    /// Nothing could have been heard of the device for so many seconds: they do not count as its silence.
    pub fn unheard(&mut self, seconds: f64) {
        if let Some(last) = &mut self.last_arrival {
            *last = last.plus_seconds(seconds);
            self.monitor.arrival(*last);
        }
    }

    /// This machine's clock was set by so many seconds, positive if ahead: that is neither silence nor sign of life.
    pub fn clock_set(&mut self, seconds: f64) {
        let arrivals = self.held.iter_mut().map(|held| &mut held.arrived);
        for at in arrivals.chain(&mut self.last_arrival) {
            *at = at.plus_seconds(seconds);
        }
        self.monitor.clock_set(seconds);
    }

    /// The device has been silent for long: what is held back is released, the record is closed.
    pub fn silence(&mut self, now: Utc, effects: &mut Effects) -> Receipt {
        let mut receipt = Receipt::default();
        self.resequencer.flush(&mut self.ordered);
        self.release(now, effects, &mut receipt);
        self.monitor.end(now, effects);
        receipt
    }

    /// Runs what the resequencer put in order through the monitor.
    fn release(&mut self, now: Utc, effects: &mut Effects, receipt: &mut Receipt) {
        for ordered in std::mem::take(&mut self.ordered) {
            match ordered {
                Ordered::Start { boot, layout, .. } => {
                    let clock = Clock::new(self.clock_config.clone(), layout.base_rate());
                    self.current = Some((boot, layout, clock));
                    self.refused = None;
                }
                Ordered::Block {
                    block, device_time, ..
                } => {
                    let Some((boot, layout, clock)) = &mut self.current else {
                        continue;
                    };
                    let event = clock.observe(block.start, device_time, now);
                    receipt.clock_event = event.or(receipt.clock_event);
                    receipt.blocks += 1;
                    receipt.samples += block
                        .signals
                        .iter()
                        .map(|signal| signal.samples.len() as u64)
                        .sum::<u64>();
                    let anchor = clock.anchor();
                    // A record opens with its first block, and again after a silence.
                    if self.monitor.record().is_none() && self.refused.is_none() {
                        let record = RecordId {
                            device: self.id.clone(),
                            boot: *boot,
                        };
                        let layout = layout.clone();
                        self.open(&record, &layout, anchor, block.start, now, effects, receipt);
                    }
                    self.monitor.block(&block, anchor, now, effects);
                }
                Ordered::Gap(gap) => {
                    // Where no record is open, opening the next one accounts for the gap.
                    if self.monitor.record().is_some() {
                        receipt.gap_samples += gap.end.since(gap.start).0;
                        self.monitor.gap(gap, now, effects);
                    }
                }
                Ordered::End { .. } => {
                    self.monitor.end(now, effects);
                    self.current = None;
                }
            }
        }
    }

    /// Opens a record; one that was open before the service restarted is carried on.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site, beside the match that has them"
    )]
    fn open(
        &mut self,
        record: &RecordId,
        layout: &Layout,
        anchor: Anchor,
        at: SampleIndex,
        now: Utc,
        effects: &mut Effects,
        receipt: &mut Receipt,
    ) {
        let resume = self.resume.take().filter(|resume| resume.record == *record);
        // 1. The same boot goes on after an end that was only silence: nothing may be told twice.
        let watermark = resume
            .as_ref()
            .map(|resume| resume.durable_until)
            .or_else(|| {
                self.durable
                    .filter(|mark| mark.boot == record.boot)
                    .map(|mark| mark.durable_until)
            });
        let opened =
            self.monitor
                .start(record.clone(), layout, anchor, at, resume.as_ref(), effects);
        if let Err(error) = opened {
            // 2. The chain refuses the layout: its packets are dropped and counted.
            tracing::warn!(device = %self.id, %error, "record refused");
            self.refused = Some(record.boot);
            return;
        }
        // 3. Packets were lost while the service was away.
        if let Some(start) = watermark
            && start < at
        {
            receipt.gap_samples += at.since(start).0;
            self.monitor.gap(ecg::Gap { start, end: at }, now, effects);
        }
    }

    /// Notes that the models work on a window or strip.
    pub fn sent_to_models(&mut self, sent: Sent) {
        self.in_flight.push(sent);
    }

    /// Notes that the models have answered, and returns the acks that were waiting for it.
    pub fn answered(&mut self, sent: Sent) -> Vec<A> {
        if let Some(k) = self.in_flight.iter().position(|known| *known == sent) {
            self.in_flight.swap_remove(k);
        }
        self.releasable(self.memory_seconds)
    }

    /// The broker sends nothing before something is acknowledged: returns the acks of what is durable and what a restart would
    /// only warm up on. What rows wait in is kept.
    pub fn make_room(&mut self) -> Vec<A> {
        let rows_wait = dsp::Chain::CLASS_LAG_SECONDS + dsp::Chain::LATE_SECONDS;
        self.releasable(rows_wait.min(self.memory_seconds))
    }

    /// Whether it holds the packet whose acknowledgement all others wait for.
    pub fn holds_next(&self) -> bool {
        self.held.iter().any(|held| held.ack.is_next())
    }

    /// Closes the record, so that all of it becomes durable; what waits for a missing packet goes on waiting.
    pub fn close(&mut self, now: Utc, effects: &mut Effects) {
        self.monitor.end(now, effects);
    }

    /// Notes how far a record is durable, and returns the acks that were waiting for it.
    pub fn committed(&mut self, mark: Watermark) -> Vec<A> {
        // Commits are in order, so the record before the newest committed one has ended.
        if let Some(before) = self.durable.replace(mark)
            && before.boot != mark.boot
        {
            let of_it = self.held.iter_mut().filter(|h| h.boot == before.boot);
            of_it.for_each(|held| held.is_over = true);
        }
        self.releasable(self.memory_seconds)
    }

    /// The acks of what a restart would not need that has `memory_seconds` before the watermark.
    fn releasable(&mut self, memory_seconds: f64) -> Vec<A> {
        let Some(mark) = self.durable else {
            return Vec::new();
        };
        let open = self.open_boot();
        let strip_floor = self.monitor.strip_floor();
        let kept = |held: &&Held<A>| held.boot == mark.boot && held.end <= mark.durable_until;
        let memory_seconds = match self.held.iter().filter(kept).count() {
            n if n > MAX_HELD => 0.0,
            _ => memory_seconds,
        };
        let in_flight = &self.in_flight;
        let needed = |held: &Held<A>| {
            let end = held.end.0 as f64;
            let warm = end + memory_seconds * held.rate_hz;
            let sent = in_flight.iter().filter(|sent| sent.boot == held.boot);
            let mut reach = sent.map(|sent| (sent.start, if sent.strip { warm } else { end }));
            reach.any(|(start, end)| (start.0 as f64) < end)
                || (open == Some(held.boot)
                    && strip_floor.is_some_and(|floor| (floor.0 as f64) < warm))
        };
        let done = |held: &Held<A>| {
            if held.is_over {
                true
            } else if held.boot == mark.boot {
                let memory = memory_seconds * held.rate_hz;
                (mark.ended && held.end <= mark.durable_until)
                    || held.end.0 as f64 + memory <= mark.durable_until.0 as f64
            } else {
                // One that ended before anything of it was durable here. What waits for the next record to open is not.
                open == Some(mark.boot)
            }
        };
        self.held
            .extract_if(.., |held| done(held) && !needed(held))
            .map(|held| held.ack)
            .collect()
    }

    fn open_boot(&self) -> Option<BootId> {
        self.monitor.record().map(|record| record.boot)
    }
}

#[cfg(test)]
mod tests {
    use ecg::simulate::Scenario;
    use ecg::{AlarmEvent, AlarmId, AlarmKind, AlarmState, Condition, Lead, Priority, SampleRate};

    use super::*;
    use crate::monitor::Live;
    use crate::wearable::Simulated;

    const HZ: u64 = 250;
    const NOW: Utc = Utc(1_700_000_000_000_000);

    /// Acknowledges packet `.0` over connection `.1`, of which the second is the one that stands.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Over(u64, u8);

    impl Acknowledge for Over {
        fn is_owed(&self) -> bool {
            self.1 == 2
        }
    }

    impl Acknowledge for u64 {
        fn is_owed(&self) -> bool {
            true
        }
    }

    fn device<A: Acknowledge>(warm_up: bool, resume: Option<Resume>) -> Device<A> {
        let id: DeviceId = "w".parse().unwrap();
        let config = alarm::Config::default();
        let mut machine = alarm::Machine::new(id.clone(), &config, config.limits);
        if let Some(resume) = &resume {
            machine.resume(resume.durable_until, resume.standing.clone());
        }
        let monitor = Monitor::new(dsp::Config::default(), machine);
        let (resequence, clock) = Default::default();
        Device::new(id, &resequence, &clock, warm_up, monitor, resume)
    }

    fn resume(record: RecordId, durable_until: SampleIndex) -> Resume {
        Resume {
            device: record.device.clone(),
            record,
            durable_until,
            ended: false,
            anchor: Anchor {
                index: SampleIndex(0),
                utc: NOW,
                hz: HZ as f64,
            },
            trend: None,
            standing: Vec::new(),
            findings: Vec::new(),
            missing_strips: Vec::new(),
            missing_ends: Vec::new(),
            beats: Vec::new(),
            beats_since: None,
            limits: ecg::PatientLimits::default(),
            patient: None,
        }
    }

    /// An asystole that is raised at `at`.
    fn raised(record: &RecordId, at: SampleIndex) -> AlarmEvent {
        let onset = SampleIndex(at.0 - 4 * HZ);
        AlarmEvent {
            alarm: AlarmId::new(record, Condition::Asystole, onset),
            record: record.clone(),
            condition: Condition::Asystole,
            kind: AlarmKind::Physiological,
            priority: Priority::High,
            state: AlarmState::Active,
            onset,
            at,
            utc: NOW,
            by: None,
            evidence: String::new(),
        }
    }

    fn packets(boot: u32, rate: f64) -> Vec<Packet> {
        let scenario = Scenario::new(3, SampleRate::new(rate).unwrap());
        let leads = [Lead::II, Lead::V1, Lead::V5];
        let mut wearable = Simulated::new(&scenario, &leads, BootId(boot), NOW).unwrap();
        (0..60).map(|_| wearable.second().unwrap()).collect()
    }

    /// Makes effects durable and lets the models answer at once; the acks that this releases.
    fn settle(device: &mut Device<u64>, effects: &Effects) -> Vec<u64> {
        let released = settle_any(device, effects);
        assert!(released.len() < 60 || effects.windows.is_empty());
        released
    }

    fn settle_any(device: &mut Device<u64>, effects: &Effects) -> Vec<u64> {
        let mut released = Vec::new();
        for known in &effects.windows {
            let sent = Sent::new(known.boot, known.window.start, false);
            device.sent_to_models(sent);
            released.extend(device.answered(sent));
        }
        let marks = effects.batch.records.iter().map(|update| Watermark {
            boot: update.record.boot,
            durable_until: update.durable_until,
            ended: update.ended,
        });
        for mark in marks {
            released.extend(device.committed(mark));
        }
        released
    }

    /// Gives packets one by one and settles each; what was released after each.
    fn play(device: &mut Device<u64>, packets: &[Packet]) -> Vec<Vec<u64>> {
        let mut released = Vec::new();
        for (k, packet) in (0u64..).zip(packets) {
            let mut effects = Effects::default();
            let (receipt, mut acks) = device.packet(packet.clone(), k, NOW, &mut effects);
            assert_eq!(receipt.lost, None);
            acks.extend(settle(device, &effects));
            released.push(acks);
        }
        released
    }

    #[test]
    fn a_packet_is_held_until_a_restart_can_do_without_it() {
        let mut device = device(true, None);
        let memory = 26;
        for (second, acks) in (1u64..).zip(play(&mut device, &packets(1, 250.0))) {
            // Decided lags by up to half a second and late facts by one more, so two packets more
            // than the memory are held.
            let expected: Vec<u64> = (memory + 1 < second)
                .then(|| second - memory - 2)
                .into_iter()
                .collect();
            assert_eq!(acks, expected, "after {second} s");
        }
        let mut effects = Effects::default();
        device.silence(NOW, &mut effects);
        let rest = settle(&mut device, &effects);
        assert_eq!(rest, (60 - memory - 1..60).collect::<Vec<_>>());
        assert_eq!(device.n_held(), 0);
    }

    #[test]
    fn without_warm_up_durable_is_enough() {
        let mut device = device(false, None);
        let released = play(&mut device, &packets(1, 250.0)).concat();
        assert_eq!(released, (0..59).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_durable_makes_room() {
        let mut device = device(true, None);
        let released = play(&mut device, &packets(1, 250.0)[..10]).concat();
        assert_eq!((released, device.n_held()), (Vec::new(), 10));
        // What rows wait in is the last to go.
        let made = device.make_room();
        assert_eq!(made, (0..made.len() as u64).collect::<Vec<_>>());
        assert!((5..8).contains(&made.len()), "{made:?}");
        assert!(device.make_room().is_empty());
        // All of it is durable once the record is closed, and it goes on as after a silence.
        let mut effects = Effects::default();
        device.close(NOW, &mut effects);
        let rest = settle(&mut device, &effects);
        assert_eq!(rest, (made.len() as u64..10).collect::<Vec<_>>());
        play(&mut device, &packets(1, 250.0)[10..15]);
        assert_eq!(device.n_held(), 5);
    }

    #[test]
    fn a_window_on_its_way_holds_its_packets() {
        let mut device = device(true, None);
        let window = Sent::new(BootId(1), SampleIndex(5 * HZ), false);
        device.sent_to_models(window);
        let released = play(&mut device, &packets(1, 250.0)).concat();
        assert_eq!(released, [0, 1, 2, 3, 4]);
        let rest = device.answered(window);
        assert_eq!(rest, (5..33).collect::<Vec<_>>());
    }

    #[test]
    fn a_strip_on_its_way_holds_what_warms_it_up() {
        // A restart warms up for a little more than 26 s.
        for (warm_up, first) in [(true, 30 - 27), (false, 30)] {
            let mut device = device(warm_up, None);
            let start = SampleIndex(30 * HZ);
            let [strip, window] = [true, false].map(|strip| Sent::new(BootId(1), start, strip));
            device.sent_to_models(window);
            device.sent_to_models(strip);
            let released = play(&mut device, &packets(1, 250.0)).concat();
            assert_eq!(released, (0..first).collect::<Vec<_>>(), "{warm_up}");
            // The window of the same seconds is another.
            assert_eq!(device.answered(window), [] as [u64; 0]);
            let rest = device.answered(strip);
            assert_eq!(rest.first(), Some(&first));
        }
    }

    #[test]
    fn a_strip_that_is_still_to_be_cut_holds_what_warms_it_up() {
        let record = RecordId {
            device: "w".parse().unwrap(),
            boot: BootId(1),
        };
        let raised = raised(&record, SampleIndex(45 * HZ));
        let mut device = device(
            true,
            Some(Resume {
                missing_strips: vec![raised],
                ..resume(record, SampleIndex(0))
            }),
        );
        let released = play(&mut device, &packets(1, 250.0)[..46]).concat();
        // It begins at 34.76 s.
        assert_eq!(released, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn a_duplicate_takes_the_place_of_an_original_that_nobody_waits_for() {
        let mut device: Device<Over> = device(true, None);
        let packets = packets(1, 250.0);
        let mut effects = Effects::default();
        for (k, packet) in (0u64..).zip(&packets[..10]) {
            let over = if k < 5 { 1 } else { 2 };
            device.packet(packet.clone(), Over(k, over), NOW, &mut effects);
        }
        let mut again = |k: usize, number| {
            let ack = Over(number, 2);
            let (receipt, acks) = device.packet(packets[k].clone(), ack, NOW, &mut effects);
            assert_eq!(receipt.lost, Some("duplicate"));
            acks
        };
        // The broker's second try.
        assert_eq!(again(4, 100), [Over(4, 1)]);
        // The device's own repetitions, however many.
        for number in 101..200 {
            assert_eq!(again(4, number), [Over(number, 2)]);
            assert_eq!(again(7, number), [Over(number, 2)]);
        }
        assert_eq!(device.n_held(), 10);
        device.silence(NOW, &mut effects);
        let mark = effects.batch.records.last().unwrap();
        let mark = Watermark {
            boot: mark.record.boot,
            durable_until: mark.durable_until,
            ended: mark.ended,
        };
        let released: Vec<u64> = device.committed(mark).iter().map(|ack| ack.0).collect();
        assert_eq!(released, [0, 1, 2, 3, 100, 5, 6, 7, 8, 9]);
        // What comes once more after the end is held by nothing.
        let ack = Over(200, 2);
        let (_, acks) = device.packet(packets[9].clone(), ack, NOW, &mut effects);
        assert_eq!((acks, device.n_held()), (vec![ack], 0));
    }

    #[test]
    fn what_was_there_before_is_no_sign_of_life() {
        let mut device: Device<u64> = device(true, None);
        let packets = packets(1, 250.0);
        let mut effects = Effects::default();
        let later = NOW.plus_seconds(20.0);
        for now in [NOW, later] {
            device.packet(packets[0].clone(), 0, now, &mut effects);
        }
        assert_eq!(device.last_arrival(), Some(NOW));
        device.packet(packets[1].clone(), 0, later, &mut effects);
        assert_eq!(device.last_arrival(), Some(later));
    }

    #[test]
    fn tiny_packets_do_not_hold_up_the_others() {
        let mut device: Device<u64> = device(true, None);
        let mut released = 0;
        for (k, second) in (0u64..).zip(packets(1, 250.0)) {
            for part in 0..125 {
                // Two samples at a time.
                let mut packet = second.clone();
                packet.sequence = k * 125 + part;
                packet.first_sample = SampleIndex(second.first_sample.0 + 2 * part);
                let from = 2 * usize::try_from(part).unwrap();
                for signal in &mut packet.signals {
                    signal.samples = signal.samples[from..from + 2].to_vec();
                }
                let mut effects = Effects::default();
                let (_, mut acks) = device.packet(packet, 0, NOW, &mut effects);
                acks.extend(settle_any(&mut device, &effects));
                released += acks.len();
                assert!(device.n_held() < MAX_HELD + 400, "{}", device.n_held());
            }
        }
        assert_eq!(released + device.n_held(), 60 * 125);
    }

    #[test]
    fn packets_of_a_refused_layout_are_released_and_counted() {
        let mut device = device(true, None);
        let mut effects = Effects::default();
        let packet = packets(1, 50.0).remove(0);
        let (receipt, acks) = device.packet(packet, 7, NOW, &mut effects);
        assert_eq!((receipt.lost, acks), (Some("layout"), vec![7]));
    }

    #[test]
    fn a_reboot_releases_the_old_record_once_its_end_is_durable() {
        let mut device = device(true, None);
        play(&mut device, &packets(1, 250.0)[..10]);
        assert_eq!(device.n_held(), 10);
        let mut effects = Effects::default();
        device.packet(packets(2, 250.0).remove(0), 10, NOW, &mut effects);
        assert_eq!(settle(&mut device, &effects), (0..10).collect::<Vec<_>>());
        assert_eq!(device.n_held(), 1);
    }

    #[test]
    fn an_answer_that_comes_after_the_next_record_has_ended_releases_its_packets() {
        let mut device = device(true, None);
        play(&mut device, &packets(1, 250.0)[..10]);
        let strip = Sent::new(BootId(1), SampleIndex(2 * HZ), true);
        device.sent_to_models(strip);
        // The device starts anew, and falls silent, before the models have got to the strip.
        play(&mut device, &packets(2, 250.0)[..5]);
        let mut effects = Effects::default();
        device.silence(NOW, &mut effects);
        settle(&mut device, &effects);
        assert_eq!(device.n_held(), 10);
        assert_eq!(device.answered(strip), (0..10).collect::<Vec<_>>());
        assert_eq!(device.n_held(), 0);
    }

    #[test]
    fn a_strip_that_is_lost_holds_nothing() {
        let record = RecordId {
            device: "w".parse().unwrap(),
            boot: BootId(1),
        };
        let raised = raised(&record, SampleIndex(5 * HZ));
        let resume = Resume {
            missing_strips: vec![raised],
            ..resume(record, SampleIndex(8 * HZ))
        };
        let mut device = device(true, Some(resume));
        // The packets before 10 s are gone, and with them the strip.
        let released = play(&mut device, &packets(1, 250.0)[10..]).concat();
        assert!(released.len() >= 20, "{released:?}");
    }

    #[test]
    fn a_silence_cuts_no_minute_short() {
        let packets = packets(1, 250.0);
        let seconds = |silent_after: usize| {
            let mut device = device(true, None);
            let mut effects = Effects::default();
            for (k, packet) in packets.iter().enumerate() {
                if k == silent_after {
                    device.silence(NOW, &mut effects);
                }
                device.packet(packet.clone(), 0, NOW, &mut effects);
            }
            device.silence(NOW, &mut effects);
            // The last of a minute is the one that stays.
            let minute = effects.batch.trends.iter().rfind(|trend| trend.minute == 0);
            minute.map(|minute| minute.usable_seconds + minute.unusable_seconds)
        };
        assert_eq!(seconds(usize::MAX), Some(3 * 60));
        assert_eq!(seconds(20), Some(3 * 60));
    }

    #[test]
    fn what_could_not_be_heard_is_no_silence() {
        let mut device = device(true, None);
        let mut effects = Effects::default();
        device.packet(packets(1, 250.0).remove(0), 0, NOW, &mut effects);
        device.unheard(60.0);
        assert_eq!(device.last_arrival(), Some(NOW.plus_seconds(60.0)));
        let raised = |device: &mut Device<u64>, seconds: f64| {
            let mut effects = Effects::default();
            let now = NOW.plus_seconds(seconds);
            device.monitor().tick(now, &mut effects);
            effects.batch.events.len()
        };
        assert_eq!(raised(&mut device, 65.0), 0);
        assert_eq!(raised(&mut device, 71.0), 1);
    }

    #[test]
    fn a_clock_that_is_set_is_neither_silence_nor_sign_of_life() {
        for set_by in [3600.0, -3600.0] {
            let mut device = device(true, None);
            let mut effects = Effects::default();
            device.packet(packets(1, 250.0).remove(0), 0, NOW, &mut effects);
            device.clock_set(set_by);
            let then = NOW.plus_seconds(set_by);
            assert_eq!(device.last_arrival(), Some(then));
            assert_eq!(device.oldest_held(), Some(then));
            let raised = |device: &mut Device<u64>, seconds: f64| {
                let mut effects = Effects::default();
                let now = then.plus_seconds(seconds);
                device.monitor().tick(now, &mut effects);
                effects.batch.events.len()
            };
            assert_eq!(raised(&mut device, 9.0), 0);
            assert_eq!(raised(&mut device, 11.0), 1);
        }
    }

    #[test]
    fn a_restart_finds_what_no_restart_would_have_found() {
        let packets = packets(1, 250.0);
        let beats = |effects: &[Effects]| -> Vec<SampleIndex> {
            let beats = effects.iter().flat_map(|effects| &effects.batch.beats);
            beats.map(|(_, beat, _)| beat.r_peak).collect()
        };
        let measured = |effects: &[Effects]| -> Vec<ecg::Measurement> {
            let live = effects.iter().flat_map(|effects| &effects.live);
            let measured = live.filter_map(|live| match live {
                Live::Complex(measurement, _) => Some((**measurement).clone()),
                _ => None,
            });
            measured.collect()
        };
        let run = |device: &mut Device<u64>, packets: &[Packet]| -> Vec<Effects> {
            let give = |packet: &Packet| {
                let mut effects = Effects::default();
                device.packet(packet.clone(), 0, NOW, &mut effects);
                effects
            };
            packets.iter().map(give).collect()
        };
        let uninterrupted = run(&mut device(true, None), &packets);
        let whole = beats(&uninterrupted);

        let before = run(&mut device(true, None), &packets[..40]);
        let mark = before.last().unwrap().batch.records.last().unwrap();
        let resume = resume(mark.record.clone(), mark.durable_until);
        // What the ack contract leaves with the broker.
        let after = run(&mut device(true, Some(resume)), &packets[18..]);
        assert_eq!([beats(&before), beats(&after)].concat(), whole);
        assert!(whole.len() > 60);
        // Measurements lag behind the watermark; none is lost and none comes twice.
        let whole = measured(&uninterrupted);
        assert!([measured(&before), measured(&after)].concat() == whole);
        assert!(whole.len() > 60);
    }
}
