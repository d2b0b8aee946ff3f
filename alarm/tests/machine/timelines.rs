//! One scenario, one timeline: what is raised and cleared, when and why.

use alarm::{Config, Error, Limits, Machine, Report, Said};
use ecg::{
    AlarmEvent, AlarmId, AlarmState, Condition, PatientLimits, QualityReason, RateSource,
    SampleIndex, Utc,
};
use insta::assert_snapshot;

use Condition::{Asystole, AtrialFibrillation, LowBattery, RateTrend};

use crate::facts::{Fact, anchor, feed, give, layout, machine, record};

const HZ: f64 = 250.0;
const LEADS: &[&str] = &["II", "V1", "V5"];

/// A wearable's facts, written down in seconds.
struct Scenario {
    signals: &'static [&'static str],
    seconds: u64,
    facts: Vec<Fact>,
    bad: Vec<(&'static str, u64, u64, QualityReason)>,
    gaps: Vec<(f64, f64)>,
}

fn samples(seconds: f64) -> u64 {
    (seconds * HZ).round() as u64
}

impl Scenario {
    fn new(signals: &'static [&'static str], seconds: u64) -> Self {
        Self {
            signals,
            seconds,
            facts: Vec::new(),
            bad: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Beats every `rr` seconds in `from..to`, each with its rate.
    fn beats(mut self, from: f64, to: f64, rr: f64) -> Self {
        let mut at = from;
        while at < to - 1e-9 {
            self.facts.push(Fact::Beat(samples(at)));
            self.facts
                .push(Fact::Rate(samples(at), (60.0 / rr) as f32, RateSource::Ecg));
            at += rr;
        }
        self
    }

    /// Pulse rates every second in `from..to`.
    fn pulses(mut self, from: u64, to: u64, bpm: f32) -> Self {
        for at in from..to {
            self.facts
                .push(Fact::Rate(samples(at as f64), bpm, RateSource::Ppg));
        }
        self
    }

    /// Pulses every `interval` seconds in `from..to`.
    fn pulse(mut self, from: f64, to: f64, interval: f64) -> Self {
        let mut at = from;
        while at < to - 1e-9 {
            self.facts.push(Fact::Pulse(samples(at)));
            at += interval;
        }
        self
    }

    /// The probabilities of VT and VF in the seconds `from..to`.
    fn ventricular(mut self, from: u64, to: u64, vt: f32, vf: f32) -> Self {
        for second in from..to {
            let (start, end) = (second as f64, (second + 1) as f64);
            let fact = Fact::Ventricular(samples(start), samples(end), vt, vf);
            self.facts.push(fact);
        }
        self
    }

    fn bad(mut self, signals: &[&'static str], from: u64, to: u64, why: QualityReason) -> Self {
        self.bad
            .extend(signals.iter().map(|&signal| (signal, from, to, why)));
        self
    }

    fn gap(mut self, from: f64, to: f64) -> Self {
        self.gaps.push((from, to));
        self
    }

    /// All facts, with a quality for each second outside gaps.
    fn facts(&self) -> Vec<Fact> {
        let mut facts = self.facts.clone();
        for &(from, to) in &self.gaps {
            facts.push(Fact::Gap(samples(from), samples(to)));
        }
        for second in 0..self.seconds {
            let (start, end) = (second as f64, (second + 1) as f64);
            if self.gaps.iter().any(|&(a, b)| a < end && start < b) {
                continue;
            }
            for &signal in self.signals {
                let why = self
                    .bad
                    .iter()
                    .rev()
                    .find(|&&(s, from, to, _)| s == signal && from <= second && second < to)
                    .map_or(QualityReason::Good, |&(.., why)| why);
                facts.push(Fact::Quality(signal, samples(start), samples(end), why));
            }
        }
        facts
    }

    fn start(&self) -> (Machine, Vec<AlarmEvent>) {
        let mut out = Vec::new();
        let mut machine = machine(&Config::default());
        machine.start(
            record(1),
            &layout(self.signals, HZ),
            anchor(HZ),
            SampleIndex(0),
            &mut out,
        );
        (machine, out)
    }

    /// The timeline when driven every 0.2 s, and what was held back.
    fn timeline(&self) -> String {
        let (mut machine, mut out) = self.start();
        let marks: Vec<u64> = (1..=self.seconds * 5).map(|k| k * 50).collect();
        feed(&mut machine, &self.facts(), &marks, &mut out);
        let held_back = machine.take_suppressed().into_iter().map(|held| {
            let seconds = |at: SampleIndex| at.0 as f64 / HZ;
            let (priority, condition) = (held.priority, held.condition);
            let (at, onset) = (seconds(held.at), seconds(held.onset));
            let (evidence, reason) = (held.evidence, held.reason);
            format!(
                "{at:6.2} s {priority} {condition} held back, onset {onset:.2} s: {evidence}; {reason}"
            )
        });
        let raised = Some(timeline(&out)).filter(|text| !text.is_empty());
        let lines: Vec<String> = raised.into_iter().chain(held_back).collect();
        lines.join("\n")
    }
}

fn timeline(events: &[AlarmEvent]) -> String {
    let lines: Vec<String> = events
        .iter()
        .map(|event| {
            let seconds = |at: SampleIndex| at.0 as f64 / HZ;
            let by = event
                .by
                .as_ref()
                .map_or(String::new(), |by| format!(" by {by}"));
            format!(
                "{:6.2} s {} {} {}, onset {:.2} s: {}{by}",
                seconds(event.at),
                event.priority,
                event.condition,
                event.state,
                seconds(event.onset),
                event.evidence
            )
        })
        .collect();
    lines.join("\n")
}

#[test]
fn a_steady_heart_is_silent() {
    assert_eq!(
        Scenario::new(LEADS, 60).beats(0.5, 60.0, 0.8).timeline(),
        ""
    );
}

#[test]
fn asystole_grows_out_of_a_pause_and_latches() {
    let scenario = Scenario::new(LEADS, 40)
        .beats(0.5, 10.5, 0.8)
        .bad(LEADS, 12, 19, QualityReason::Flat)
        .beats(20.0, 40.0, 0.8);
    assert_snapshot!(scenario.timeline(), @"
    13.10 s medium pause active, onset 10.10 s: no QRS for 3.0 s
    14.10 s high asystole active, onset 10.10 s: no QRS for 4.0 s, rate before 75/min
    14.10 s medium pause cleared, onset 10.10 s: asystole is announced instead
    20.00 s high asystole latched, onset 10.10 s: QRS
    ");
}

#[test]
fn a_pause_ends_with_the_next_beat() {
    let scenario = Scenario::new(LEADS, 30)
        .beats(0.5, 10.0, 0.8)
        .beats(12.8, 30.0, 0.8);
    assert_snapshot!(scenario.timeline(), @"
    12.30 s medium pause active, onset 9.30 s: no QRS for 3.0 s
    12.80 s medium pause cleared, onset 9.30 s: QRS
    ");
}

#[test]
fn a_record_without_any_beat_is_an_asystole() {
    assert_snapshot!(
        Scenario::new(LEADS, 6).timeline(),
        @"  4.00 s high asystole active, onset 0.00 s: no QRS for 4.0 s, since the record began"
    );
}

#[test]
fn extreme_bradycardia_is_announced_instead_of_a_low_rate() {
    let scenario = Scenario::new(LEADS, 60)
        .beats(0.5, 10.0, 0.8)
        .beats(10.5, 20.0, 1.4)
        .beats(20.0, 40.0, 1.7)
        .beats(41.0, 60.0, 0.8);
    assert_snapshot!(scenario.timeline(), @"
    15.50 s medium low_rate active, onset 10.50 s: rate 43/min, under the limit of 50/min for 5 s (ECG)
    16.10 s high extreme_bradycardia active, onset 10.50 s: 5 beats at 43/min, longest RR 1.4 s
    16.10 s medium low_rate cleared, onset 10.50 s: extreme_bradycardia is announced instead
    43.40 s high extreme_bradycardia latched, onset 10.50 s: 5 beats at 51/min
    ");
}

#[test]
fn extreme_tachycardia_is_announced_instead_of_a_high_rate() {
    let scenario = Scenario::new(LEADS, 60)
        .beats(0.5, 10.0, 0.8)
        .beats(10.3, 20.0, 0.46)
        .beats(20.0, 40.0, 0.4)
        .beats(40.0, 60.0, 0.8);
    assert_snapshot!(scenario.timeline(), @"
    15.30 s medium high_rate active, onset 10.30 s: rate 130/min, over the limit of 120/min for 5 s (ECG)
    20.00 s high extreme_tachycardia active, onset 14.90 s: 13 beats at 141/min
    20.00 s medium high_rate cleared, onset 10.30 s: extreme_tachycardia is announced instead
    41.60 s high extreme_tachycardia latched, onset 14.90 s: 13 beats at 129/min
    ");
}

#[test]
fn a_rate_must_be_well_inside_the_limit_again() {
    let scenario = Scenario::new(LEADS, 60)
        .beats(0.5, 20.0, 0.49)
        .beats(20.0, 40.0, 0.51)
        .beats(40.0, 60.0, 0.53);
    assert_snapshot!(scenario.timeline(), @"
     5.50 s medium high_rate active, onset 0.50 s: rate 122/min, over the limit of 120/min for 5 s (ECG)
    40.00 s medium high_rate cleared, onset 0.50 s: rate 113/min
    ");
}

#[test]
fn leads_off_silence_the_asystole_but_not_themselves() {
    let scenario = Scenario::new(LEADS, 40)
        .beats(0.5, 9.8, 0.8)
        .bad(LEADS, 10, 25, QualityReason::LeadOff)
        .beats(26.0, 40.0, 0.8);
    assert_snapshot!(scenario.timeline(), @"
    12.00 s medium leads_off active, onset 10.00 s: off for 2 s: II, V1, V5, no signal left
    26.00 s medium leads_off cleared, onset 10.00 s: electrodes are on
    ");
}

#[test]
fn an_asystole_ends_when_the_running_second_turns_out_off() {
    let scenario =
        Scenario::new(LEADS, 12)
            .beats(0.5, 5.0, 0.8)
            .bad(LEADS, 8, 12, QualityReason::LeadOff);
    assert_snapshot!(scenario.timeline(), @"
     7.50 s medium pause active, onset 4.50 s: no QRS for 3.0 s
     8.50 s high asystole active, onset 4.50 s: no QRS for 4.0 s, rate before 75/min
     8.50 s medium pause cleared, onset 4.50 s: asystole is announced instead
     9.00 s high asystole latched, onset 4.50 s: ECG cannot be judged: II lead_off, V1 lead_off, V5 lead_off
    10.00 s medium leads_off active, onset 8.00 s: off for 2 s: II, V1, V5, no signal left
    ");
}

#[test]
fn one_lead_that_can_be_judged_is_enough() {
    let scenario = Scenario::new(LEADS, 20).beats(0.5, 8.0, 0.8).bad(
        &["II", "V1"],
        8,
        20,
        QualityReason::LeadOff,
    );
    assert_snapshot!(scenario.timeline(), @"
    10.70 s medium pause active, onset 7.70 s: no QRS for 3.0 s
    11.70 s high asystole active, onset 7.70 s: no QRS for 4.0 s, rate before 75/min
    11.70 s medium pause cleared, onset 7.70 s: asystole is announced instead
    ");
}

#[test]
fn noise_on_every_lead_is_unusable_in_the_end() {
    let scenario = Scenario::new(LEADS, 40)
        .beats(0.5, 10.0, 0.8)
        .bad(&["II"], 10, 30, QualityReason::Saturated)
        .bad(&["V1", "V5"], 10, 32, QualityReason::Noisy)
        .beats(30.5, 40.0, 0.8);
    assert_snapshot!(scenario.timeline(), @"
    20.00 s medium unusable_signal active, onset 10.00 s: no usable signal for 10 s: II saturated, V1 noisy, V5 noisy
    31.00 s medium unusable_signal cleared, onset 10.00 s: II good, V1 noisy, V5 noisy
    ");
}

#[test]
fn nothing_is_counted_across_a_gap() {
    let scenario = Scenario::new(LEADS, 40)
        .beats(0.5, 9.8, 0.8)
        .gap(10.0, 15.0)
        .beats(18.5, 22.0, 0.8)
        .gap(27.5, 30.0);
    assert_snapshot!(scenario.timeline(), @"
    24.70 s medium pause active, onset 21.70 s: no QRS for 3.0 s
    25.70 s high asystole active, onset 21.70 s: no QRS for 4.0 s, rate before 75/min
    25.70 s medium pause cleared, onset 21.70 s: asystole is announced instead
    27.50 s high asystole latched, onset 21.70 s: gap in the record
    34.00 s high asystole active, onset 30.00 s: no QRS for 4.0 s, since a gap in the record
    ");
}

#[test]
fn a_ppg_has_rates_but_no_asystole() {
    let scenario = Scenario::new(&["PPG"], 60)
        .pulses(1, 10, 70.0)
        .pulses(10, 30, 130.0)
        .bad(&["PPG"], 40, 45, QualityReason::LeadOff)
        .bad(&["PPG"], 45, 60, QualityReason::Flat);
    assert_snapshot!(scenario.timeline(), @"
    15.00 s medium high_rate active, onset 10.00 s: rate 130/min, over the limit of 120/min for 5 s (PPG)
    39.00 s medium high_rate cleared, onset 10.00 s: no rate for 10 s
    42.00 s medium leads_off active, onset 40.00 s: off for 2 s: PPG, no signal left
    46.00 s medium leads_off cleared, onset 40.00 s: electrodes are on
    50.00 s medium unusable_signal active, onset 40.00 s: no usable signal for 10 s: PPG flat
    ");
}

#[test]
fn a_pulse_alone_is_lost_and_no_asystole() {
    let mut scenario = Scenario::new(&["PPG"], 40)
        .pulse(0.7, 15.0, 0.8)
        .bad(&["PPG"], 23, 26, QualityReason::Noisy)
        .pulse(26.0, 40.0, 0.8);
    // Noise is taken for pulses.
    let noise = [16.0, 17.4, 17.9, 18.1, 18.6, 20.0, 21.0, 21.3, 21.7, 25.0];
    let noise = noise.map(|at| Fact::WeakPulse(samples(at)));
    scenario.facts.extend(noise);
    scenario.facts.sort_by_key(Fact::until);
    assert_snapshot!(scenario.timeline(), @"
    20.30 s medium pulse_lost active, onset 14.30 s: no pulse for 6.0 s, even at 75/min before; no ECG that can be judged
    29.00 s medium pulse_lost cleared, onset 14.30 s: pulse
    ");
}

#[test]
fn a_pulse_that_was_uneven_or_unusable_or_whose_sensor_slipped_is_not_lost() {
    let signals = &["PPG"];
    let good = || Scenario::new(signals, 40).pulse(0.7, 15.0, 0.8);
    assert!(good().timeline().contains("pulse_lost"));
    // Each of these by another condition, if at all.
    let slipped = good().bad(signals, 15, 30, QualityReason::LeadOff);
    let noisy = good().bad(signals, 12, 40, QualityReason::Noisy);
    let gap = good().gap(18.0, 20.0);
    let uneven = Scenario::new(signals, 40)
        .pulse(0.7, 15.0, 1.6)
        .pulse(1.2, 15.0, 1.6);
    for scenario in [slipped, noisy, gap, uneven] {
        let timeline = scenario.timeline();
        assert!(!timeline.contains("pulse_lost"), "{timeline}");
    }
    let with_ecg = Scenario::new(&["II", "PPG"], 40)
        .beats(0.5, 40.0, 0.8)
        .pulse(0.7, 15.0, 0.8);
    assert_eq!(with_ecg.timeline(), "");
}

#[test]
fn an_even_pulse_alone_has_extreme_rates() {
    let pulse = |scenario: Scenario, from: f64, to: f64, interval: f64| {
        let mut scenario = scenario.pulse(from, to, interval);
        let mut at = from;
        while at < to - 1e-9 {
            let bpm = (60.0 / interval) as f32;
            scenario
                .facts
                .push(Fact::Rate(samples(at), bpm, RateSource::Ppg));
            at += interval;
        }
        scenario
    };
    let new = || pulse(Scenario::new(&["PPG"], 60), 0.7, 20.0, 0.8);
    let fast = pulse(pulse(new(), 20.0, 40.0, 0.4), 40.0, 60.0, 0.8);
    assert_snapshot!(fast.timeline(), @"
    23.60 s high extreme_tachycardia active, onset 18.30 s: 13 pulses at 150/min, no ECG that can be judged
    43.20 s high extreme_tachycardia latched, onset 18.30 s: pulse 75/min
    ");
    let slow = pulse(pulse(new(), 20.0, 40.0, 1.6), 40.0, 60.0, 0.8);
    assert_snapshot!(slow.timeline(), @"
    24.80 s high extreme_bradycardia active, onset 19.90 s: 5 pulses at 38/min, no ECG that can be judged
    40.80 s high extreme_bradycardia latched, onset 19.90 s: pulse 75/min
    ");
    // Every second crest is the dicrotic wave of the one before.
    let mut doubled = new();
    for k in 0..25 {
        doubled = pulse(
            doubled,
            20.0 + 0.8 * f64::from(k),
            20.1 + 0.8 * f64::from(k),
            0.3,
        );
        doubled = pulse(
            doubled,
            20.3 + 0.8 * f64::from(k),
            20.4 + 0.8 * f64::from(k),
            0.5,
        );
    }
    assert!(
        !doubled.timeline().contains("extreme"),
        "{}",
        doubled.timeline()
    );
    let noisy = pulse(new(), 20.0, 60.0, 0.4).bad(&["PPG"], 14, 60, QualityReason::Noisy);
    assert!(
        !noisy.timeline().contains("extreme"),
        "{}",
        noisy.timeline()
    );
}

#[test]
fn the_ppg_stands_in_while_the_ecg_is_off() {
    let scenario = Scenario::new(&["II", "PPG"], 50)
        .beats(0.5, 10.0, 0.8)
        .pulses(1, 40, 150.0)
        .bad(&["II"], 10, 40, QualityReason::LeadOff)
        .bad(&["PPG"], 30, 35, QualityReason::LeadOff)
        .beats(40.5, 50.0, 0.8);
    assert_snapshot!(scenario.timeline(), @"
    12.00 s low leads_off active, onset 10.00 s: off for 2 s: II
    16.00 s medium high_rate active, onset 11.00 s: rate 150/min, over the limit of 120/min for 5 s (PPG)
    32.00 s low leads_off cleared, onset 10.00 s: now of medium priority
    32.00 s medium leads_off active, onset 30.00 s: off for 2 s: II, PPG, no signal left
    36.00 s medium leads_off cleared, onset 30.00 s: now of low priority
    36.00 s low leads_off active, onset 34.00 s: off for 2 s: II
    41.00 s low leads_off cleared, onset 34.00 s: electrodes are on
    41.30 s medium high_rate cleared, onset 11.00 s: rate 75/min
    ");
}

#[test]
fn acknowledging_follows_the_states() {
    let scenario = Scenario::new(LEADS, 40)
        .beats(0.5, 10.5, 0.8)
        .beats(20.0, 30.0, 0.8);
    let facts = scenario.facts();
    let (mut machine, mut out) = scenario.start();
    feed(&mut machine, &facts, &[samples(18.0)], &mut out);
    let asystole = out[1].alarm;
    let pause = out[0].alarm;
    let now = Utc(1_000_000);
    assert_eq!(
        machine.acknowledge(pause, "Ada", now, &mut out),
        Err(Error::NotOpen(pause))
    );
    machine.acknowledge(asystole, "Ada", now, &mut out).unwrap();
    assert_eq!(out.last().unwrap().utc, now);
    assert_eq!(
        machine.acknowledge(asystole, "Bob", now, &mut out),
        Err(Error::AlreadyAcknowledged(asystole))
    );
    let later: Vec<Fact> = facts
        .into_iter()
        .filter(|fact| fact.until() > samples(18.0))
        .collect();
    feed(&mut machine, &later, &[samples(38.0)], &mut out);
    let second = machine.standing().next().unwrap().alarm;
    machine.end(SampleIndex(samples(39.0)), &mut out);
    machine.acknowledge(second, "Ada", now, &mut out).unwrap();
    assert_eq!(machine.standing().count(), 0);
    assert_eq!(
        machine.acknowledge(second, "Ada", now, &mut out),
        Err(Error::NotOpen(second))
    );
    assert_snapshot!(timeline(&out), @"
    13.10 s medium pause active, onset 10.10 s: no QRS for 3.0 s
    14.10 s high asystole active, onset 10.10 s: no QRS for 4.0 s, rate before 75/min
    14.10 s medium pause cleared, onset 10.10 s: asystole is announced instead
    18.00 s high asystole acknowledged, onset 10.10 s: acknowledged by Ada
    20.00 s high asystole cleared, onset 10.10 s: QRS
    32.60 s medium pause active, onset 29.60 s: no QRS for 3.0 s
    33.60 s high asystole active, onset 29.60 s: no QRS for 4.0 s, rate before 75/min
    33.60 s medium pause cleared, onset 29.60 s: asystole is announced instead
    39.00 s high asystole latched, onset 29.60 s: the record ended
    39.00 s high asystole cleared, onset 29.60 s: acknowledged by Ada
    ");
}

#[test]
fn a_record_that_was_left_open_and_does_not_go_on_is_silent() {
    let second = |s: i64| Utc(s * 1_000_000);
    let (mut machine, mut out) = (machine(&Config::default()), Vec::new());
    for now in 100..115 {
        machine.tick(second(now), &mut out);
    }
    assert_eq!(
        out.len(),
        0,
        "of a device without a record nothing is expected"
    );
    machine.left(record(1), anchor(HZ), SampleIndex(samples(9.5)));
    for now in 115..130 {
        machine.tick(second(now), &mut out);
    }
    // It goes on after all.
    machine.arrival(second(131));
    let standing = machine.standing().cloned().collect();
    let at = SampleIndex(samples(9.5));
    machine.start(record(1), &layout(LEADS, HZ), anchor(HZ), at, &mut out);
    machine.resume(at, standing);
    give(&mut machine, &Fact::Beat(samples(10.2)));
    machine.decided(SampleIndex(samples(10.5)), &mut out);
    assert_snapshot!(timeline(&out), @"
     9.50 s medium no_data active, onset 9.50 s: nothing received for 10 s
     9.50 s medium no_data cleared, onset 9.50 s: data arrive again
    ");
}

#[test]
fn silence_is_an_alarm_until_new_samples_are_decided() {
    let scenario = Scenario::new(LEADS, 20).beats(0.5, 20.0, 0.8);
    let facts = scenario.facts();
    let (mut machine, mut out) = scenario.start();
    feed(&mut machine, &facts, &[samples(9.5)], &mut out);
    let second = |s: i64| Utc(s * 1_000_000);
    machine.arrival(second(100));
    for now in 100..115 {
        machine.tick(second(now), &mut out);
    }
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].utc, second(110));
    // A packet that brings nothing new does not end it, and raises no second one either.
    machine.arrival(second(115));
    machine.decided(SampleIndex(samples(9.5)), &mut out);
    machine.tick(second(130), &mut out);
    assert_eq!(out.len(), 1);
    machine.arrival(second(131));
    machine.decided(SampleIndex(samples(10.4)), &mut out);
    assert_eq!(out[1].utc, second(131));
    // A reboot ends it as well.
    machine.tick(second(150), &mut out);
    machine.arrival(second(151));
    machine.start(
        record(2),
        &layout(LEADS, HZ),
        anchor(HZ),
        SampleIndex(0),
        &mut out,
    );
    machine.decided(SampleIndex(samples(0.5)), &mut out);
    assert_snapshot!(timeline(&out), @"
     9.50 s medium no_data active, onset 9.50 s: nothing received for 10 s
     9.50 s medium no_data cleared, onset 9.50 s: data arrive again
    10.40 s medium no_data active, onset 10.40 s: nothing received for 10 s
    10.40 s medium no_data cleared, onset 10.40 s: data arrive again
    ");
}

#[test]
fn a_reboot_ends_what_was_present() {
    let scenario = Scenario::new(LEADS, 20).beats(0.5, 5.0, 0.8);
    let (mut machine, mut out) = scenario.start();
    feed(&mut machine, &scenario.facts(), &[samples(12.0)], &mut out);
    machine.start(
        record(2),
        &layout(LEADS, HZ),
        anchor(HZ),
        SampleIndex(0),
        &mut out,
    );
    assert_snapshot!(timeline(&out), @"
     7.50 s medium pause active, onset 4.50 s: no QRS for 3.0 s
     8.50 s high asystole active, onset 4.50 s: no QRS for 4.0 s, rate before 75/min
     8.50 s medium pause cleared, onset 4.50 s: asystole is announced instead
    12.00 s high asystole latched, onset 4.50 s: the record ended
    ");
    // The same after a restart that has only the alarms that stand.
    let standing = vec![out[1].clone()];
    assert_eq!(standing[0].state, AlarmState::Active);
    let (mut machine, mut again) = (self::machine(&Config::default()), Vec::new());
    machine.start(
        record(2),
        &layout(LEADS, HZ),
        anchor(HZ),
        SampleIndex(0),
        &mut again,
    );
    machine.resume(SampleIndex(0), standing);
    machine.decided(SampleIndex(samples(4.5)), &mut again);
    assert_eq!(again[0].id(), out[3].id());
    assert_eq!(again[1].record, record(2));
}

#[test]
fn limits_can_change_under_way() {
    let scenario = Scenario::new(LEADS, 40).beats(0.5, 40.0, 0.6);
    let (mut machine, mut out) = scenario.start();
    let facts = scenario.facts();
    feed(&mut machine, &facts, &[samples(20.0)], &mut out);
    machine.set_limits(Limits::new(40.0, 90.0).unwrap());
    machine.decided(SampleIndex(samples(20.1)), &mut out);
    machine.set_limits(Limits::new(40.0, 150.0).unwrap());
    machine.decided(SampleIndex(samples(20.2)), &mut out);
    assert_snapshot!(timeline(&out), @"
    20.00 s medium high_rate active, onset 15.00 s: rate 100/min, over the limit of 90/min for 5 s (ECG)
    20.10 s medium high_rate cleared, onset 15.00 s: rate 100/min
    ");
}

#[test]
fn every_limit_of_a_patient_counts() {
    let all = Scenario::new(LEADS, 60)
        .beats(0.5, 10.0, 0.8)
        // 2.5 s without a beat, then 36 a minute, then 150.
        .beats(11.8, 30.0, 1.66)
        .beats(30.5, 60.0, 0.4);
    let run = |limits: PatientLimits| {
        let (mut machine, mut out) = all.start();
        machine.set_limits(Limits::of(limits).unwrap());
        feed(&mut machine, &all.facts(), &[samples(60.0)], &mut out);
        timeline(&out)
    };
    assert_snapshot!(run(PatientLimits::default()), @"
    15.12 s high extreme_bradycardia active, onset 8.50 s: 5 beats at 36/min, longest RR 2.5 s
    31.30 s high extreme_bradycardia latched, onset 8.50 s: 5 beats at 53/min
    35.30 s high extreme_tachycardia active, onset 30.50 s: 13 beats at 150/min
    ");
    let own = PatientLimits {
        low_bpm: Some(30.0),
        high_bpm: Some(160.0),
        extreme_bradycardia_bpm: Some(30.0),
        extreme_tachycardia_bpm: Some(155.0),
        ..PatientLimits::default()
    };
    assert_snapshot!(run(own), @"");
    let tight = PatientLimits {
        pause_seconds: Some(2.0),
        rate_delay_seconds: Some(2.0),
        ..PatientLimits::default()
    };
    assert_snapshot!(run(tight), @"
    11.30 s medium pause active, onset 9.30 s: no QRS for 2.0 s
    11.80 s medium pause cleared, onset 9.30 s: QRS
    13.80 s medium low_rate active, onset 11.80 s: rate 36/min, under the limit of 50/min for 2 s (ECG)
    15.12 s high extreme_bradycardia active, onset 8.50 s: 5 beats at 36/min, longest RR 2.5 s
    15.12 s medium low_rate cleared, onset 11.80 s: extreme_bradycardia is announced instead
    30.40 s medium pause active, onset 28.40 s: no QRS for 2.0 s
    30.50 s medium pause cleared, onset 28.40 s: QRS
    31.30 s high extreme_bradycardia latched, onset 8.50 s: 5 beats at 53/min
    32.50 s medium high_rate active, onset 30.50 s: rate 150/min, over the limit of 120/min for 2 s (ECG)
    35.30 s high extreme_tachycardia active, onset 30.50 s: 13 beats at 150/min
    35.30 s medium high_rate cleared, onset 30.50 s: extreme_tachycardia is announced instead
    ");
}

#[test]
fn what_is_switched_off_ends_and_is_not_raised() {
    let off = |condition| {
        let off = [condition].into_iter().collect();
        Limits::of(PatientLimits {
            off,
            ..PatientLimits::default()
        })
        .unwrap()
    };
    let scenario = Scenario::new(LEADS, 60).beats(0.5, 60.0, 0.47);
    let (mut machine, mut out) = scenario.start();
    let said = |present: bool, at: f64| {
        let at = SampleIndex(samples(at));
        let evidence = "for 30 s".to_owned();
        Report {
            condition: Condition::AtrialFibrillation,
            at,
            said: if present {
                Said::Present {
                    onset: at,
                    evidence,
                }
            } else {
                Said::Absent { evidence }
            },
        }
    };
    let facts = scenario.facts();
    feed(&mut machine, &facts, &[samples(20.0)], &mut out);
    machine.report(said(true, 20.0), &mut out);
    machine.set_limits(off(Condition::AtrialFibrillation));
    machine.decided(SampleIndex(samples(20.1)), &mut out);
    machine.report(said(true, 20.1), &mut out);
    machine.report(said(false, 20.1), &mut out);
    machine.set_limits(off(Condition::HighRate));
    machine.decided(SampleIndex(samples(20.2)), &mut out);
    machine.report(said(true, 20.2), &mut out);
    machine.set_limits(Limits::default());
    machine.decided(SampleIndex(samples(20.3)), &mut out);
    assert_snapshot!(timeline(&out), @"
     5.50 s medium high_rate active, onset 0.50 s: rate 128/min, over the limit of 120/min for 5 s (ECG)
    20.00 s medium atrial_fibrillation active, onset 20.00 s: for 30 s
    20.00 s medium atrial_fibrillation cleared, onset 20.00 s: switched off for the patient
    20.10 s medium high_rate cleared, onset 0.50 s: switched off for the patient
    20.20 s medium atrial_fibrillation active, onset 20.20 s: for 30 s
    20.20 s medium high_rate active, onset 15.20 s: rate 128/min, over the limit of 120/min for 5 s (ECG)
    ");
}

#[test]
fn latched_alarms_are_bounded() {
    let mut scenario = Scenario::new(LEADS, 700);
    for k in 0..130 {
        scenario
            .facts
            .push(Fact::Beat(samples(1.0 + 5.0 * f64::from(k))));
    }
    let (mut machine, mut out) = scenario.start();
    feed(&mut machine, &scenario.facts(), &[samples(640.0)], &mut out);
    let latched = machine
        .standing()
        .filter(|event| event.state == AlarmState::Latched);
    assert_eq!(latched.count(), Machine::MAX_LATCHED);
    let cleared: Vec<AlarmId> = out
        .iter()
        .filter(|e| e.priority == ecg::Priority::High && e.state == AlarmState::Cleared)
        .map(|e| e.alarm)
        .collect();
    let raised: Vec<AlarmId> = out
        .iter()
        .filter(|e| e.priority == ecg::Priority::High && e.state == AlarmState::Active)
        .map(|e| e.alarm)
        .collect();
    assert_eq!(cleared, raised[..cleared.len()]);
}

const WITH_PULSE: &[&str] = &["II", "V1", "PPG"];
const WITH_PRESSURE: &[&str] = &["II", "V1", "ABP"];

#[test]
fn a_pulse_that_goes_on_holds_an_asystole_back_until_it_stops() {
    let scenario = Scenario::new(WITH_PULSE, 40)
        .beats(0.5, 10.5, 0.8)
        .pulse(0.7, 25.0, 0.8);
    assert_snapshot!(scenario.timeline(), @"
    27.00 s high asystole active, onset 13.00 s: no QRS for more than 14 s
    13.10 s medium pause held back, onset 10.10 s: no QRS for 3.0 s; 4 pulses meanwhile, 75/min
    14.10 s high asystole held back, onset 10.10 s: no QRS for 4.0 s, rate before 75/min; 5 pulses meanwhile, 75/min
    ");
}

#[test]
fn a_heart_that_moves_no_blood_is_an_asystole_though_waves_go_on() {
    let scenario = Scenario::new(WITH_PRESSURE, 30)
        .beats(0.5, 15.0, 0.7)
        .beats(16.6, 30.0, 0.7)
        .pulse(0.7, 15.0, 0.7)
        .pulse(20.0, 30.0, 0.7);
    assert_snapshot!(scenario.timeline(), @"
    17.60 s high asystole active, onset 14.70 s: no pulse for 2.9 s, longest RR 2.1 s
    20.00 s high asystole latched, onset 14.70 s: QRS
    ");
}

#[test]
fn fibrillation_is_raised_at_its_second_and_latches() {
    let scenario = Scenario::new(LEADS, 40)
        .beats(0.5, 12.0, 0.8)
        .ventricular(0, 14, 0.0, 0.0)
        .ventricular(14, 15, 0.3, 0.4)
        .ventricular(15, 24, 0.2, 0.9)
        .ventricular(24, 40, 0.0, 0.1)
        .beats(24.0, 40.0, 0.8);
    assert_snapshot!(scenario.timeline(), @"
    14.70 s medium pause active, onset 11.70 s: no QRS for 3.0 s
    15.70 s high asystole active, onset 11.70 s: no QRS for 4.0 s, rate before 75/min
    15.70 s medium pause cleared, onset 11.70 s: asystole is announced instead
    16.00 s high ventricular_fibrillation active, onset 12.00 s: probability 0.90, no clear pulse
    24.00 s high asystole latched, onset 11.70 s: QRS
    29.00 s high ventricular_fibrillation latched, onset 12.00 s: probability under 0.25 for 5 s
    ");
}

#[test]
fn the_pulse_speaks_for_and_against_tachycardia() {
    let shaken = Scenario::new(WITH_PULSE, 30)
        .beats(0.5, 30.0, 0.8)
        .pulse(0.7, 30.0, 0.8)
        .ventricular(0, 15, 0.0, 0.0)
        .ventricular(15, 20, 0.7, 0.0)
        .ventricular(20, 30, 0.0, 0.0);
    assert_snapshot!(shaken.timeline(), @" 16.00 s high ventricular_tachycardia held back, onset 12.00 s: probability 0.70 by the waves alone; no fast beats on end, pulse steady at 75/min");
    let ill = Scenario::new(WITH_PULSE, 40)
        .beats(0.5, 15.0, 0.8)
        .beats(15.2, 20.0, 0.4)
        .beats(20.5, 40.0, 0.8)
        .pulse(0.7, 15.0, 0.8)
        .pulse(16.2, 20.0, 1.1)
        .pulse(20.7, 40.0, 0.8)
        .ventricular(0, 15, 0.0, 0.0)
        .ventricular(15, 20, 0.3, 0.0)
        .ventricular(20, 40, 0.0, 0.0);
    assert_snapshot!(ill.timeline(), @"
    19.00 s high ventricular_tachycardia active, onset 15.00 s: probability 0.63, pulse disturbed (3 intervals)
    19.20 s high extreme_tachycardia active, onset 14.10 s: 13 beats at 141/min
    21.30 s high extreme_tachycardia latched, onset 14.10 s: 13 beats at 126/min
    25.00 s high ventricular_tachycardia latched, onset 15.00 s: probability under 0.25 for 5 s
    ");
}

#[test]
fn waves_taken_for_beats_do_not_hide_a_bradycardia_of_the_pulse() {
    let scenario = Scenario::new(WITH_PRESSURE, 40)
        .beats(0.5, 10.0, 0.8)
        .beats(10.0, 40.0, 1.8)
        .beats(10.3, 40.0, 1.8)
        .pulse(0.7, 10.0, 0.8)
        .pulse(10.2, 40.0, 1.8);
    assert_snapshot!(scenario.timeline(), @"
    15.00 s medium low_rate active, onset 10.00 s: rate 33/min, under the limit of 50/min for 5 s (ECG)
    15.60 s high extreme_bradycardia active, onset 9.50 s: 5 pulses at 39/min, longest RR 1.5 s
    15.60 s medium low_rate cleared, onset 10.00 s: extreme_bradycardia is announced instead
    ");
}

#[test]
fn a_slow_steady_pulse_holds_a_tachycardia_back() {
    let scenario = Scenario::new(WITH_PULSE, 30)
        .beats(0.5, 15.0, 0.7)
        .beats(15.0, 30.0, 0.35)
        .pulse(0.7, 30.0, 0.7);
    assert_snapshot!(scenario.timeline(), @"

    18.15 s high extreme_tachycardia held back, onset 13.10 s: 13 beats at 143/min; pulse steady at 86/min
    20.00 s medium high_rate held back, onset 15.00 s: rate 171/min, over the limit of 120/min for 5 s (ECG); pulse steady at 86/min
    ");
}

#[test]
fn what_is_told_is_raised_and_ends_but_not_beside_something_greater() {
    let scenario = Scenario::new(LEADS, 40)
        .beats(0.5, 10.5, 0.8)
        .beats(30.0, 40.0, 0.8);
    let (mut machine, mut out) = scenario.start();
    let report = |machine: &mut Machine, condition, at: f64, since: Option<f64>| {
        let mut said = Vec::new();
        let report = Report {
            condition,
            at: SampleIndex(samples(at)),
            said: match since {
                Some(since) => Said::Present {
                    onset: SampleIndex(samples(since)),
                    evidence: "told so".into(),
                },
                None => Said::Absent {
                    evidence: "over".into(),
                },
            },
        };
        machine.report(report, &mut said);
        said
    };
    let facts = scenario.facts();
    feed(&mut machine, &facts, &[samples(12.0)], &mut out);
    out.extend(report(&mut machine, AtrialFibrillation, 11.0, Some(2.0)));
    out.extend(report(&mut machine, AtrialFibrillation, 11.5, Some(2.0)));
    // Judged here: nobody else may say so.
    out.extend(report(&mut machine, Asystole, 11.5, Some(2.0)));
    let rest: Vec<Fact> = facts
        .into_iter()
        .filter(|fact| fact.until() > samples(12.0))
        .collect();
    feed(&mut machine, &rest, &[samples(20.0)], &mut out);
    // An asystole by now: an empty battery is told beside it.
    out.extend(report(&mut machine, LowBattery, 20.0, Some(20.0)));
    out.extend(report(&mut machine, AtrialFibrillation, 20.5, None));
    machine.end(SampleIndex(samples(20.0)), &mut out);
    out.extend(report(&mut machine, LowBattery, 21.0, None));
    out.extend(report(&mut machine, RateTrend, 21.0, None));
    assert_snapshot!(timeline(&out), @"
    11.00 s medium atrial_fibrillation active, onset 2.00 s: told so
    13.10 s medium pause active, onset 10.10 s: no QRS for 3.0 s
    14.10 s high asystole active, onset 10.10 s: no QRS for 4.0 s, rate before 75/min
    14.10 s medium pause cleared, onset 10.10 s: asystole is announced instead
    20.00 s low low_battery active, onset 20.00 s: told so
    20.50 s medium atrial_fibrillation cleared, onset 2.00 s: over
    20.00 s high asystole latched, onset 10.10 s: the record ended
    21.00 s low low_battery cleared, onset 20.00 s: over
    ");
}
