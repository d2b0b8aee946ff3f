use super::*;
use crate::PacketSignal;
use ecg::{SampleRate, SignalSpec};
use proptest::prelude::*;

const HZ: f64 = 100.0;

fn layout(kind: &str, hz: f64) -> Layout {
    Layout::new(&[SignalSpec {
        kind: kind.parse().unwrap(),
        rate: SampleRate::new(hz).unwrap(),
    }])
    .unwrap()
}

/// A packet whose samples say which they are: the one at index k is k.
fn packet(boot: u32, sequence: u64, samples: Range<u64>) -> Packet {
    Packet {
        boot: BootId(boot),
        sequence,
        first_sample: SampleIndex(samples.start),
        device_time: Utc(0),
        layout: layout("II", HZ),
        signals: vec![PacketSignal {
            gain: 1.0,
            baseline: 0,
            lead_off: false,
            samples: samples
                .map(|k| i32::try_from(k % 10_000).unwrap())
                .collect(),
        }],
        battery_percent: None,
    }
}

/// The usual packet of one second.
fn second(boot: u32, sequence: u64) -> Packet {
    packet(boot, sequence, sequence * 100..sequence * 100 + 100)
}

fn resequencer() -> Resequencer {
    Resequencer::new(Config::default())
}

/// What came out, in short: `S7@0` start of boot 7, `0-99` samples, `gap 100-199`, `E7@200`.
fn brief(ordered: &[Ordered]) -> String {
    let one = |ordered: &Ordered| match ordered {
        Ordered::Start { boot, at, .. } => format!("S{}@{at}", boot.0),
        Ordered::Block { block, .. } => format!("{}-{}", block.start, block.end().0 - 1),
        Ordered::Gap(gap) => format!("gap {}-{}", gap.start, gap.end.0 - 1),
        Ordered::End { boot, at } => format!("E{}@{at}", boot.0),
    };
    ordered.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Pushes packets and checks each outcome and everything that came out.
fn check(packets: &[(Packet, Outcome)], expected: &str) {
    let (mut resequencer, mut ordered) = (resequencer(), Vec::new());
    for (packet, outcome) in packets {
        let sequence = packet.sequence;
        let actual = resequencer.push(packet.clone(), &mut ordered);
        assert_eq!(actual, *outcome, "sequence {sequence}");
    }
    assert_eq!(brief(&ordered), expected);
}

use Outcome::{Accepted, Crowded, Duplicate, Full, Inconsistent, Late, PreviousBoot};

#[test]
fn packets_in_order_pass_at_once() {
    check(
        &[(second(1, 0), Accepted), (second(1, 1), Accepted)],
        "S1@0 0-99 100-199",
    );
}

#[test]
fn a_missing_packet_is_waited_for() {
    check(
        &[
            (second(1, 0), Accepted),
            (second(1, 3), Accepted),
            (second(1, 2), Accepted),
            (second(1, 1), Accepted),
        ],
        "S1@0 0-99 100-199 200-299 300-399",
    );
}

#[test]
fn the_horizon_ends_the_wait() {
    check(
        &[
            (second(1, 0), Accepted),
            (second(1, 2), Accepted),
            (second(1, 3), Accepted),
            (second(1, 4), Accepted),
            (second(1, 1), Late),
            (second(1, 3), Duplicate),
            (second(1, 0), Duplicate),
        ],
        "S1@0 0-99 gap 100-199 200-299 300-399 400-499",
    );
}

#[test]
fn a_record_in_the_middle_begins_after_the_horizon() {
    check(
        &[
            (second(1, 8), Accepted),
            (second(1, 7), Accepted),
            (second(1, 9), Accepted),
            (second(1, 6), Late),
        ],
        "S1@700 700-799 800-899 900-999",
    );
}

#[test]
fn samples_lost_by_the_device_are_a_gap_at_once() {
    let day = 100 * 86_400;
    check(
        &[
            (second(1, 0), Accepted),
            (packet(1, 1, 150..250), Accepted),
            (packet(1, 2, 2 * day..2 * day + 100), Accepted),
        ],
        "S1@0 0-99 gap 100-149 150-249 gap 250-17279999 17280000-17280099",
    );
}

#[test]
fn a_skipped_number_without_missing_samples_is_no_gap() {
    check(
        &[
            (second(1, 0), Accepted),
            (packet(1, 5, 100..200), Accepted),
            (packet(1, 4, 0..100), Late),
        ],
        "S1@0 0-99 100-199",
    );
}

#[test]
fn a_new_boot_ends_the_record() {
    check(
        &[
            (second(1, 0), Accepted),
            (second(1, 2), Accepted),
            (second(2, 0), Accepted),
            (second(1, 1), PreviousBoot),
            (second(2, 1), Accepted),
        ],
        "S1@0 0-99 gap 100-199 200-299 E1@300 S2@0 0-99 100-199",
    );
}

#[test]
fn overlaps_are_dropped() {
    check(
        &[
            (second(1, 0), Accepted),
            (packet(1, 1, 50..150), Inconsistent),
            (packet(1, 3, 300..400), Accepted),
            (packet(1, 2, 250..350), Inconsistent),
            (packet(1, 4, 0..100), Inconsistent),
            (packet(1, 4, 350..450), Inconsistent),
            (second(1, 1), Accepted),
            (second(1, 2), Accepted),
        ],
        "S1@0 0-99 100-199 200-299 300-399",
    );
}

#[test]
fn a_new_layout_is_a_new_record_of_the_same_boot() {
    let mut other = packet(1, 1, 120..220);
    other.layout = layout("V1", HZ);
    let mut faster = packet(1, 2, 440..540);
    faster.layout = layout("V1", 2.0 * HZ);
    check(
        &[
            (second(1, 0), Accepted),
            (other, Accepted),
            (faster, Accepted),
        ],
        "S1@0 0-99 gap 100-119 E1@120 S1@120 120-219 E1@220 S1@440 440-539",
    );
}

#[test]
fn flush_and_end_release_everything() {
    let (mut resequencer, mut ordered) = (resequencer(), Vec::new());
    resequencer.push(packet(1, 4, 400..450), &mut ordered);
    resequencer.push(packet(1, 6, 500..550), &mut ordered);
    assert_eq!(brief(&ordered), "");
    resequencer.flush(&mut ordered);
    resequencer.push(packet(1, 7, 550..600), &mut ordered);
    resequencer.end(&mut ordered);
    assert_eq!(
        brief(&ordered),
        "S1@400 400-449 gap 450-499 500-549 550-599 E1@600"
    );
    assert_eq!(resequencer.push(second(1, 8), &mut ordered), PreviousBoot);
}

#[test]
fn a_full_hold_gives_up_the_oldest_hole() {
    let config = Config {
        max_held_packets: 3,
        max_held_samples: 35,
        ..Config::default()
    };
    let (mut resequencer, mut ordered) = (Resequencer::new(config), Vec::new());
    let tenth = |sequence: u64| packet(1, sequence, sequence * 10..sequence * 10 + 10);
    for (sequence, outcome) in [
        (0, Accepted),
        (2, Accepted),
        (4, Accepted),
        (5, Accepted),
        (6, Crowded),
        (1, Late),
        (3, Accepted),
    ] {
        let actual = resequencer.push(tenth(sequence), &mut ordered);
        assert_eq!(actual, outcome, "{sequence}");
    }
    assert_eq!(resequencer.push(second(1, 9), &mut ordered), Full);
    assert_eq!(
        brief(&ordered),
        "S1@0 0-9 gap 10-19 20-29 30-39 40-49 50-59 60-69"
    );
}

/// One device's packets: some lost on the way, some samples never sent.
#[derive(Debug, Clone)]
struct Journey {
    packets: Vec<Packet>,
    /// Their order of arrival, as indices; an index may occur more than once.
    arrivals: Vec<usize>,
    end: u64,
}

/// Packets of 10 to 60 samples (0.1 to 0.6 s). Each arrives up to `delay` after its last sample was taken and
/// maybe once more within a second; one in `loss` never does.
fn journeys(delay: f64, loss: u32) -> impl Strategy<Value = Journey> {
    let one = (
        10..60_u64,
        0..10_u32,
        0..100_u32,
        0.0..delay,
        prop::option::weighted(0.1, 0.0..1.0),
    );
    prop::collection::vec(one, 1..60).prop_map(move |rows| {
        let (mut packets, mut arrivals, mut position) = (Vec::new(), Vec::new(), 0_u64);
        for (sequence, (n_samples, skip, lost, delay, again)) in (0..).zip(rows) {
            if skip == 0 {
                position += n_samples;
            }
            let end = position + n_samples;
            if lost >= loss || sequence == 0 {
                let delay = if sequence == 0 { 0.0 } else { delay };
                let at = end as f64 / HZ + delay;
                arrivals.push((at, packets.len()));
                arrivals.extend(again.map(|more| (at + more, packets.len())));
                packets.push(packet(1, sequence, position..end));
            }
            position = end;
        }
        arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
        Journey {
            end: packets.last().map_or(0, |last: &Packet| last.end().0),
            packets,
            arrivals: arrivals.into_iter().map(|(_, packet)| packet).collect(),
        }
    })
}

/// Joins the pieces: each sample of `0..end` must be there once, as itself, or in exactly one gap.
fn check_covers(ordered: &[Ordered], end: u64) {
    let Ordered::Start { at, .. } = ordered[0] else {
        panic!("{:?}", ordered[0]);
    };
    let mut position = at.0;
    let mut last_was_gap = false;
    for piece in &ordered[1..] {
        match piece {
            Ordered::Block { block, .. } => {
                assert_eq!(block.start.0, position);
                for (k, &mv) in (position..).zip(&block.signals[0].samples) {
                    assert!((f64::from(mv) - (k % 10_000) as f64).abs() < 1e-3);
                }
                position = block.end().0;
                last_was_gap = false;
            }
            Ordered::Gap(gap) => {
                assert!(!last_was_gap && gap.start.0 == position && gap.end > gap.start);
                position = gap.end.0;
                last_was_gap = true;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(position, end);
}

/// The model: the kept packets in order, with gaps wherever one does not follow the one before.
fn model(packets: &[Packet]) -> Vec<Ordered> {
    let mut ordered = Vec::new();
    let mut position = None;
    for packet in packets {
        let start = packet.first_sample;
        match position {
            None => ordered.push(start_of(packet)),
            Some(end) if end < start => ordered.push(Ordered::Gap(Gap {
                start: end,
                end: start,
            })),
            Some(_) => {}
        }
        ordered.push(Ordered::Block {
            block: packet.to_block(),
            device_time: packet.device_time,
            sequence: packet.sequence,
            battery_percent: None,
        });
        position = Some(packet.end());
    }
    ordered
}

fn play(journey: &Journey) -> (Vec<Ordered>, Vec<Outcome>) {
    let (mut resequencer, mut ordered) = (resequencer(), Vec::new());
    let mut outcomes = Vec::new();
    for &arrival in &journey.arrivals {
        let packet = journey.packets[arrival].clone();
        outcomes.push(resequencer.push(packet, &mut ordered));
        assert!(resequencer.n_held() <= 256);
    }
    resequencer.flush(&mut ordered);
    (ordered, outcomes)
}

proptest! {
    #[test]
    fn any_order_within_the_horizon_gives_the_same_record(journey in journeys(2.0, 10)) {
        let (ordered, outcomes) = play(&journey);
        prop_assert_eq!(&ordered, &model(&journey.packets));
        let kept = outcomes.iter().filter(|outcome| outcome.is_kept()).count();
        prop_assert_eq!(kept, journey.packets.len());
        prop_assert!(outcomes.iter().all(|&outcome| outcome == Accepted || outcome == Duplicate));
    }

    #[test]
    fn beyond_the_horizon_each_sample_is_still_there_once_or_in_one_gap(journey in journeys(8.0, 30)) {
        let (ordered, outcomes) = play(&journey);
        check_covers(&ordered, journey.end);
        let blocks = ordered.iter().filter(|piece| matches!(piece, Ordered::Block { .. })).count();
        prop_assert_eq!(blocks, outcomes.iter().filter(|outcome| outcome.is_kept()).count());
    }

    #[test]
    fn whatever_a_device_sends_memory_is_bounded_and_the_record_grows(
        sent in prop::collection::vec((0..3_u32, 0..40_u64, 0..5000_u64, 1..300_u64), 1..300)
    ) {
        let config = Config { max_held_packets: 8, max_held_samples: 900, ..Config::default() };
        let mut resequencer = Resequencer::new(config);
        let mut ordered = Vec::new();
        for (boot, sequence, start, n_samples) in sent {
            resequencer.push(packet(boot, sequence, start..start + n_samples), &mut ordered);
            prop_assert!(resequencer.n_held() <= 8 && resequencer.held_samples <= 900);
        }
        resequencer.end(&mut ordered);
        let mut position = None;
        for piece in ordered {
            match piece {
                Ordered::Start { at, .. } => {
                    prop_assert_eq!(position, None);
                    position = Some(at);
                }
                Ordered::Block { block, .. } => {
                    prop_assert_eq!(position, Some(block.start));
                    position = Some(block.end());
                }
                Ordered::Gap(gap) => {
                    prop_assert_eq!(position, Some(gap.start));
                    position = Some(gap.end);
                }
                Ordered::End { at, .. } => {
                    prop_assert_eq!(position, Some(at));
                    position = None;
                }
            }
        }
        prop_assert_eq!(position, None);
    }
}
