//! Properties of the machine on random facts, at a rate low enough to check every sample.

use std::collections::{HashMap, HashSet};

use AlarmState::{Acknowledged, Active, Cleared, Latched};
use alarm::{Config, Machine, definition};
use ecg::{
    AlarmEvent, AlarmId, AlarmState, Condition, QualityReason, RateSource, SampleIndex, Utc,
};
use proptest::prelude::*;

use crate::facts::{Fact, anchor, feed, give, layout, machine, record};

const HZ: f64 = 25.0;
const SECOND: u64 = 25;
const ASYSTOLE: u64 = 4 * SECOND;

/// What a device with these signals said for `seconds`.
#[derive(Debug, Clone)]
struct Story {
    signals: &'static [&'static str],
    seconds: u64,
    facts: Vec<Fact>,
}

impl Story {
    fn start(&self, at: u64) -> (Machine, Vec<AlarmEvent>) {
        let (mut machine, mut out) = (machine(&Config::default()), Vec::new());
        machine.start(
            record(1),
            &layout(self.signals, HZ),
            anchor(HZ),
            SampleIndex(at),
            &mut out,
        );
        (machine, out)
    }

    fn n_samples(&self) -> u64 {
        self.seconds * SECOND
    }

    /// All events when driven at `marks` and at the end.
    fn events(&self, marks: &[u64]) -> Vec<AlarmEvent> {
        let (mut machine, mut out) = self.start(0);
        let marks = [marks, &[self.n_samples()]].concat();
        feed(&mut machine, &self.facts, &marks, &mut out);
        out
    }

    fn gaps(&self) -> impl Iterator<Item = (u64, u64)> {
        self.facts.iter().filter_map(|fact| match *fact {
            Fact::Gap(start, end) => Some((start, end)),
            _ => None,
        })
    }

    fn beats(&self) -> impl Iterator<Item = u64> {
        self.facts.iter().filter_map(|fact| match *fact {
            Fact::Beat(at) => Some(at),
            _ => None,
        })
    }

    fn has_ecg(&self) -> bool {
        self.signals.iter().any(|name| !name.starts_with("PPG"))
    }

    /// Ends of the seconds in which no ECG lead can be judged.
    fn unjudged_ends(&self) -> Vec<u64> {
        let mut leads_at: HashMap<u64, usize> = HashMap::new();
        for fact in &self.facts {
            if let Fact::Quality(signal, _, end, reason) = *fact
                && !signal.starts_with("PPG")
                && !matches!(reason, QualityReason::Good | QualityReason::Flat)
            {
                *leads_at.entry(end).or_default() += 1;
            }
        }
        let n = self
            .signals
            .iter()
            .filter(|s| !s.starts_with("PPG"))
            .count();
        leads_at.retain(|_, bad| *bad == n);
        leads_at.into_keys().collect()
    }

    /// The beats in stretches: without a break, and without an interval as long as an asystole.
    fn stretches(&self) -> Vec<Vec<u64>> {
        let breaks: Vec<u64> = self
            .unjudged_ends()
            .into_iter()
            .chain(self.gaps().map(|(start, _)| start))
            .collect();
        let mut stretches: Vec<Vec<u64>> = Vec::new();
        let mut last: Option<u64> = None;
        for beat in self.beats() {
            let follows = last.is_some_and(|last| {
                beat - last < ASYSTOLE && !breaks.iter().any(|&b| last < b && b <= beat)
            });
            match stretches.last_mut() {
                Some(stretch) if follows => stretch.push(beat),
                _ => stretches.push(vec![beat]),
            }
            last = Some(beat);
        }
        stretches
    }
}

fn reason() -> impl Strategy<Value = QualityReason> {
    prop::sample::select(&QualityReason::ALL[1..])
}

fn story() -> impl Strategy<Value = Story> {
    let signals: &[&[&str]] = &[&["II"], &["II", "V1"], &["PPG"], &["II", "V1", "PPG"]];
    // Mean interval in samples, spread of it, and for how many seconds; 0 is no beat at all.
    let rhythm = (
        prop::sample::select(&[0u64, 8, 10, 11, 12, 20, 25, 36, 39, 45, 70, 95][..]),
        0..3u64,
        2..25u64,
    );
    let rhythms = prop::collection::vec(rhythm, 1..7);
    // Which signals (bits), from when, for how long, why.
    let bad = (1..8usize, 0..90u64, 1..15u64, reason());
    let bads = prop::collection::vec(bad, 0..5);
    let gaps = prop::collection::vec((0..90 * SECOND, 1..8 * SECOND), 0..3);
    let jitter = prop::collection::vec(0..10u64, 64);
    (prop::sample::select(signals), rhythms, bads, gaps, jitter).prop_map(
        |(signals, rhythms, bads, gaps, jitter)| {
            let seconds: u64 = rhythms.iter().map(|(.., n)| n).sum();
            let end = seconds * SECOND;
            let mut facts = Vec::new();
            let mut free = 0;
            let mut gaps = gaps;
            gaps.sort_unstable();
            let gaps: Vec<(u64, u64)> = gaps
                .into_iter()
                .filter_map(|(start, n)| {
                    let kept = start >= free && start + n <= end;
                    free = if kept { start + n } else { free };
                    kept.then_some((start, start + n))
                })
                .collect();
            facts.extend(gaps.iter().map(|&(a, b)| Fact::Gap(a, b)));

            let (mut at, mut until, mut k) = (0, 0, 0);
            for (rr, spread, n) in rhythms {
                until += n * SECOND;
                if rr == 0 {
                    at = until;
                }
                while at < until {
                    if !gaps.iter().any(|&(a, b)| a <= at && at < b) {
                        facts.push(Fact::Beat(at));
                        let bpm = 60.0 * HZ as f32 / rr as f32;
                        facts.push(Fact::Rate(at, bpm, RateSource::Ecg));
                        facts.push(Fact::Rate(at, bpm + 2.0, RateSource::Ppg));
                    }
                    at += rr + jitter[k % 64] * spread / 6;
                    k += 1;
                }
            }
            for second in 0..seconds {
                let (start, end) = (second * SECOND, (second + 1) * SECOND);
                if gaps.iter().any(|&(a, b)| a < end && start < b) {
                    continue;
                }
                for (bit, &signal) in signals.iter().enumerate() {
                    let why = bads
                        .iter()
                        .find(|&&(bits, from, n, _)| {
                            bits >> bit & 1 == 1 && from <= second && second < from + n
                        })
                        .map_or(QualityReason::Good, |&(.., why)| why);
                    facts.push(Fact::Quality(signal, start, end, why));
                }
            }
            if !signals.iter().any(|name| !name.starts_with("PPG")) {
                facts.retain(|fact| {
                    !matches!(fact, Fact::Beat(_) | Fact::Rate(.., RateSource::Ecg))
                });
            }
            Story {
                signals,
                seconds,
                facts,
            }
        },
    )
}

/// The same with pulses of their own, or none for a while, and with what the waves look like each second.
fn lively_story() -> impl Strategy<Value = Story> {
    // Mean interval of pulses, 0 for none, and for how many seconds; steady or not.
    let pulse = (
        prop::sample::select(&[0u64, 10, 18, 25, 40][..]),
        3..25u64,
        any::<bool>(),
    );
    let pulses = prop::collection::vec(pulse, 1..6);
    let level = prop::sample::select(&[0.0f32, 0.2, 0.3, 0.6, 0.95][..]);
    let levels = prop::collection::vec((level.clone(), level, 1..15u64), 1..8);
    let jitter = prop::collection::vec(0..9u64, 32);
    (story(), pulses, levels, jitter).prop_map(|(mut story, pulses, levels, jitter)| {
        let end = story.n_samples();
        let gaps: Vec<(u64, u64)> = story.gaps().collect();
        let outside = |at: u64| !gaps.iter().any(|&(a, b)| a <= at && at < b);
        let (mut at, mut until, mut k) = (0, 0, 0);
        for (interval, n, steady) in pulses {
            until = (until + n * SECOND).min(end);
            if interval == 0 {
                at = until;
            }
            while at < until {
                if outside(at) && story.signals.contains(&"PPG") {
                    let weak = jitter[k % 32] == 8;
                    let pulse = if weak { Fact::WeakPulse } else { Fact::Pulse };
                    story.facts.push(pulse(at));
                }
                at += interval + if steady { 0 } else { jitter[k % 32] };
                k += 1;
            }
        }
        let levels: Vec<(f32, f32)> = levels
            .into_iter()
            .flat_map(|(vt, vf, n)| std::iter::repeat_n((vt, vf), usize::try_from(n).unwrap()))
            .collect();
        for (second, (vt, vf)) in (0..story.seconds).zip(levels.into_iter().cycle()) {
            let (start, stop) = (second * SECOND, (second + 1) * SECOND);
            if story.has_ecg() && gaps.iter().all(|&(a, b)| b <= start || stop <= a) {
                story.facts.push(Fact::Ventricular(start, stop, vt, vf));
            }
        }
        story
    })
}

/// Positions near the start, and at the end of what can be counted.
fn any_sample() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 0..900u64, 1 => u64::MAX - 9..=u64::MAX]
}

fn raised(events: &[AlarmEvent], condition: Condition) -> Vec<(u64, u64)> {
    events
        .iter()
        .filter(|e| e.condition == condition && e.state == AlarmState::Active)
        .map(|e| (e.onset.0, e.at.0))
        .collect()
}

/// Whether the condition is present after all events up to and including `at`.
fn present(events: &[AlarmEvent], condition: Condition, at: u64) -> bool {
    events
        .iter()
        .rfind(|e| e.condition == condition && e.at.0 <= at)
        .is_some_and(|e| matches!(e.state, AlarmState::Active | AlarmState::Acknowledged))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_state_is_skipped_or_entered_twice(
        story in prop_oneof![story(), lively_story()],
        acks in prop::collection::vec((0..2500u64, 0..4usize), 0..12),
    ) {
        let mut acks = acks;
        acks.sort_unstable();
        let (mut machine, mut out) = story.start(0);
        let mut rest = story.facts.clone();
        for (mark, nth) in acks {
            let mark = mark.min(story.n_samples());
            feed(&mut machine, &rest, &[mark], &mut out);
            rest.retain(|fact| fact.until() > mark);
            let standing = machine.standing().nth(nth).map(|e| (e.alarm, e.state));
            if let Some((alarm, state)) = standing {
                let acknowledged = machine.acknowledge(alarm, "Ada", Utc(0), &mut out);
                prop_assert_eq!(acknowledged.is_err(), state == AlarmState::Acknowledged);
            }
        }
        feed(&mut machine, &rest, &[story.n_samples()], &mut out);
        machine.end(SampleIndex(story.n_samples()), &mut out);

        let mut states: HashMap<AlarmId, AlarmState> = HashMap::new();
        let mut ids = HashSet::new();
        let mut last = SampleIndex(0);
        for event in &out {
            let line = definition(event.condition);
            let before = states.insert(event.alarm, event.state);
            prop_assert!(match (before, event.state) {
                (None, Active) | (Some(Active), Acknowledged) | (Some(Acknowledged), Cleared) => true,
                (Some(Active), Latched) | (Some(Latched), Cleared) => line.latching,
                (Some(Active), Cleared) => !line.latching,
                _ => false,
            }, "{before:?} to {event:?}");
            prop_assert!(ids.insert(event.id()));
            prop_assert!(event.at >= last && event.onset <= event.at);
            last = event.at;
        }
        // What still stands is what has not been cleared, and none of it is present.
        let standing: HashSet<AlarmId> = machine.standing().map(|e| e.alarm).collect();
        for (alarm, state) in states {
            prop_assert_eq!(standing.contains(&alarm), state == AlarmState::Latched);
            prop_assert!(state == AlarmState::Latched || state == AlarmState::Cleared);
        }
    }

    #[test]
    fn facts_that_make_no_sense_do_no_harm(
        facts in prop::collection::vec((0..5u8, any_sample(), any_sample(), any::<f32>()), 0..60),
    ) {
        let (mut machine, mut out) = (machine(&Config::default()), Vec::new());
        machine.start(record(1), &layout(&["II", "PPG"], HZ), anchor(HZ), SampleIndex(9), &mut out);
        for (what, a, b, bpm) in facts {
            match what {
                0 => give(&mut machine, &Fact::Beat(a)),
                1 => give(&mut machine, &Fact::Rate(a, bpm, RateSource::Ecg)),
                2 => give(&mut machine, &Fact::Quality("II", a, b, QualityReason::Noisy)),
                3 => give(&mut machine, &Fact::Gap(a, b)),
                _ => machine.decided(SampleIndex(a), &mut out),
            }
        }
        machine.end(SampleIndex(u64::MAX), &mut out);
        let mut ids = HashSet::new();
        for event in &out {
            prop_assert!(event.onset <= event.at && ids.insert(event.id()), "{event:?}");
        }
    }

    #[test]
    fn lesser_conditions_give_way(story in prop_oneof![story(), lively_story()]) {
        let events = story.events(&[]);
        for at in 0..=story.n_samples() {
            for condition in Condition::ALL {
                // These give way to electrodes only where no signal is left.
                let partly = matches!(condition, Condition::UnusableSignal | Condition::PulseLost);
                if !partly && present(&events, condition, at) {
                    for &greater in definition(condition).yields_to {
                        prop_assert!(!present(&events, greater, at), "{condition} beside {greater}");
                    }
                }
            }
        }
    }

    #[test]
    fn it_does_not_matter_how_often_it_is_driven(
        story in prop_oneof![story(), lively_story()],
        marks in prop::collection::btree_set(0..2500u64, 0..40),
    ) {
        let whole = story.events(&[]);
        let every: Vec<u64> = (1..story.n_samples()).collect();
        prop_assert_eq!(&story.events(&every), &whole);
        let marks: Vec<u64> = marks.into_iter().filter(|&m| m < story.n_samples()).collect();
        prop_assert_eq!(&story.events(&marks), &whole);
    }

    #[test]
    fn a_restart_changes_nothing(story in prop_oneof![story(), lively_story()], cut in 0..2500u64, more in 0..500u64, step in 1..60usize, ack: bool) {
        let cut = cut.min(story.n_samples());
        let acknowledge = |machine: &mut Machine, out: &mut Vec<AlarmEvent>| {
            let alarms: Vec<AlarmId> = machine.standing().map(|e| e.alarm).collect();
            for alarm in alarms.into_iter().filter(|_| ack) {
                machine.acknowledge(alarm, "Ada", Utc(5), out).unwrap();
            }
        };
        let after = |start: u64| -> Vec<Fact> {
            story.facts.iter().filter(|fact| fact.until() > start).cloned().collect()
        };
        let (mut machine, mut whole) = story.start(0);
        feed(&mut machine, &story.facts, &[cut], &mut whole);
        acknowledge(&mut machine, &mut whole);
        let rest: Vec<Fact> = story
            .facts
            .iter()
            .filter(|fact| match fact {
                Fact::Quality(_, _, end, _) | Fact::Ventricular(_, end, ..) => *end > cut,
                Fact::Beat(at) | Fact::Pulse(at) | Fact::WeakPulse(at) | Fact::Rate(at, ..) | Fact::Gap(at, _) => {
                    *at >= cut
                }
            })
            .cloned()
            .collect();
        let standing: Vec<AlarmEvent> = machine.standing().cloned().collect();
        let mut cut_in_two = whole.clone();
        feed(&mut machine, &rest, &[story.n_samples()], &mut whole);

        let replayed_from = cut.saturating_sub(20 * SECOND + more);
        let (mut machine, _) = story.start(replayed_from);
        machine.resume(SampleIndex(cut), standing);
        let marks: Vec<u64> = (replayed_from..story.n_samples())
            .step_by(step)
            .chain([story.n_samples()])
            .collect();
        feed(&mut machine, &after(replayed_from), &marks, &mut cut_in_two);
        prop_assert_eq!(cut_in_two, whole);
    }

    #[test]
    fn every_asystole_is_raised_at_its_sample_and_nothing_else_is(story in story()) {
        let mut expected = Vec::new();
        let unjudged = story.unjudged_ends();
        for at in 0..=story.n_samples() {
            if !story.has_ecg() || story.gaps().any(|(start, end)| start < at && at <= end) {
                continue;
            }
            let from = (unjudged.iter().copied().filter(|&end| end <= at))
                .chain(story.gaps().map(|(_, end)| end).filter(|&end| end < at))
                .chain(story.beats().filter(|&beat| beat < at))
                .max()
                .unwrap_or(0);
            // Raised already, if the last beat stood alone.
            let stands = expected.last().is_some_and(|&(_, raised)| raised > from);
            if at - from == ASYSTOLE && !stands {
                expected.push((from, at));
            }
            // One beat in 5.2 s.
            let stretches = story.stretches();
            let stretch = stretches.iter().rfind(|stretch| stretch[0] < at);
            let before: Vec<u64> = stretch.into_iter().flatten().copied().filter(|b| *b < at).collect();
            if let [.., before, lone] = before[..] && lone == from {
                let due = at == (before + 130).max(lone + 65);
                if due && lone - before >= 33 && at - lone < ASYSTOLE {
                    expected.push((before, at));
                }
            }
        }
        prop_assert_eq!(raised(&story.events(&[]), Condition::Asystole), expected);
    }

    #[test]
    fn nothing_lethal_is_silent(story in lively_story()) {
        let (mut machine, mut events) = story.start(0);
        feed(&mut machine, &story.facts, &[story.n_samples()], &mut events);
        let held_back = machine.take_suppressed();
        let answered = |condition, at: u64| {
            let held = held_back.iter().filter(|held| held.condition == condition);
            // A gap that begins at that very sample ends it there.
            let at_once = raised(&events, condition).iter().any(|(_, when)| *when == at);
            at_once
                || present(&events, condition, at.saturating_sub(1))
                || present(&events, condition, at)
                || held.clone().any(|held| held.at.0 <= at)
        };
        // Every reason is a pulse, or what a tachycardia lacks: fast beats, a pulse to confirm it.
        let pulses: Vec<u64> = story.facts.iter().filter_map(|fact| match fact {
            Fact::Pulse(at) | Fact::WeakPulse(at) => Some(*at),
            _ => None,
        }).collect();
        for held in &held_back {
            prop_assert!(!held.reason.is_empty() && !held.evidence.is_empty());
            let lately = held.at.0.saturating_sub(10 * SECOND)..=held.at.0;
            let n = pulses.iter().filter(|at| lately.contains(at)).count();
            let slow = held.condition == Condition::VentricularTachycardia
                && (held.reason.starts_with("no fast beats") || held.reason == "no clear pulse");
            prop_assert!(n >= 3 || slow, "{held:?}");
        }
        for fact in &story.facts {
            if let Fact::Ventricular(_, end, vt, vf) = *fact {
                if vf >= 0.5 {
                    prop_assert!(answered(Condition::VentricularFibrillation, end), "VF at {end}");
                }
                let vf = Condition::VentricularFibrillation;
                let lesser = present(&events, vf, end - 1)
                    || raised(&events, vf).iter().any(|(_, when)| *when == end);
                if vt >= 0.5 && !lesser {
                    prop_assert!(answered(Condition::VentricularTachycardia, end), "VT at {end}");
                }
            }
        }
        let unjudged = story.unjudged_ends();
        for at in 0..=story.n_samples() {
            if !story.has_ecg() || story.gaps().any(|(start, end)| start < at && at <= end) {
                continue;
            }
            let from = (unjudged.iter().copied().filter(|&end| end <= at))
                .chain(story.gaps().map(|(_, end)| end).filter(|&end| end < at))
                .chain(story.beats().filter(|&beat| beat < at))
                .max()
                .unwrap_or(0);
            if at - from == ASYSTOLE {
                prop_assert!(answered(Condition::Asystole, at), "asystole at {at}");
            }
        }
    }

    #[test]
    fn no_extreme_rate_is_silent_and_none_is_made_up(story in story()) {
        let events = story.events(&[]);
        let slow = |beats: &[u64]| {
            let longest = beats.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
            let span = beats[4] - beats[0];
            let (limit, others) = (60.0 / 43.0 * HZ, 60.0 / 46.0 * HZ);
            span as f64 / 4.0 > limit && (span - longest) as f64 / 3.0 > others
        };
        let fast = |beats: &[u64]| {
            let span = (beats[12] - beats[0]) as f64 / HZ;
            12.0 * 60.0 / span > 140.0
        };
        for condition in [Condition::ExtremeBradycardia, Condition::ExtremeTachycardia] {
            let is_slow = condition == Condition::ExtremeBradycardia;
            let n = if is_slow { 5 } else { 13 };
            let holds = |beats: &[u64]| if is_slow { slow(beats) } else { fast(beats) };
            let mut there = HashSet::new();
            for stretch in story.stretches() {
                for beats in stretch.windows(n).filter(|beats| holds(beats)) {
                    there.insert((beats[0], beats[n - 1]));
                    prop_assert!(present(&events, condition, beats[n - 1]), "{condition} at {beats:?}");
                }
            }
            for raised in raised(&events, condition) {
                prop_assert!(there.contains(&raised), "{condition} {raised:?}");
            }
        }
    }
}
