//! What the simulator promises: physics of the leads, determinism, chunk invariance, rhythms, pulses.

#![expect(
    clippy::float_cmp,
    reason = "identities and determinism hold to the last bit"
)]
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use ecg::simulate::{
    AvBlock, Contact, Ectopy, Noise, OffSpan, Rhythm, Scenario, Segment, Simulator, TrueBeat,
    Truth, record,
};
use ecg::{BeatClass, Error, Lead, SampleCount, SampleRate, SignalKind, Wavelength};
use proptest::prelude::*;

const HZ: f64 = 500.0;

fn rate(hz: f64) -> SampleRate {
    SampleRate::new(hz).unwrap()
}

fn scenario(seed: u64, rhythm: Rhythm, noise: Noise) -> Scenario {
    Scenario {
        rhythms: vec![(rhythm, f64::INFINITY)],
        noise,
        ppg_rate: Some(rate(100.0)),
        ..Scenario::new(seed, rate(HZ))
    }
}

fn clean(seed: u64, rhythm: Rhythm, seconds: f64) -> Segment {
    record(&scenario(seed, rhythm, Noise::NONE), seconds).unwrap()
}

/// One of everything.
fn mixed(seed: u64) -> Scenario {
    let bpm = 75.0;
    Scenario {
        rhythms: vec![
            (Rhythm::Sinus { bpm }, 3.0),
            (Rhythm::AtrialFibrillation { bpm: 110.0 }, 3.0),
            (
                Rhythm::AvBlock {
                    bpm,
                    degree: AvBlock::Wenckebach,
                },
                4.0,
            ),
            (
                Rhythm::AvBlock {
                    bpm,
                    degree: AvBlock::Complete { escape_bpm: 40.0 },
                },
                4.0,
            ),
            (
                Rhythm::Ectopic {
                    bpm,
                    pattern: Ectopy::Bigeminy,
                },
                3.0,
            ),
            (Rhythm::VentricularTachycardia { bpm: 180.0 }, 2.0),
            (Rhythm::VentricularFibrillation, 2.0),
            (Rhythm::Asystole, 2.0),
        ],
        repeat: true,
        noise: Noise {
            motion_per_minute: 30.0,
            ..Noise::AMBULATORY
        },
        contact_off: vec![
            OffSpan {
                contact: Contact::V5,
                start: 1.0,
                seconds: 4.0,
            },
            OffSpan {
                contact: Contact::Ppg,
                start: 20.0,
                seconds: 9.5,
            },
            OffSpan {
                contact: Contact::LA,
                start: 2.5,
                seconds: 1.0,
            },
        ],
        ppg_rate: Some(rate(64.0)),
        acceleration_rate: Some(rate(50.0)),
        ..Scenario::new(seed, rate(250.0))
    }
}

fn rr_seconds(beats: &[TrueBeat], hz: f64) -> Vec<f64> {
    beats
        .windows(2)
        .map(|pair| pair[1].r_peak.since(pair[0].r_peak).0 as f64 / hz)
        .collect()
}

/// Mean and coefficient of variation.
fn mean_cv(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, variance.sqrt() / mean)
}

fn at(index: ecg::SampleIndex) -> usize {
    usize::try_from(index.0).unwrap()
}

#[test]
fn limb_leads_obey_einthoven_and_goldberger_to_the_last_bit() {
    for seed in 0..4 {
        let segment = record(&mixed(seed), 50.0).unwrap();
        let lead = |lead| segment.lead(lead).unwrap();
        for k in 0..segment.n_samples {
            let (i, ii) = (lead(Lead::I)[k], lead(Lead::II)[k]);
            assert_eq!(lead(Lead::III)[k], ii - i);
            assert_eq!(lead(Lead::AVR)[k], -(i + ii) / 2.0);
            assert_eq!(lead(Lead::AVL)[k], i - ii / 2.0);
            assert_eq!(lead(Lead::AVF)[k], ii - i / 2.0);
        }
        assert!(
            segment
                .leads
                .iter()
                .chain(&segment.ppg)
                .chain(segment.acceleration.iter().flatten())
                .all(|x| x.is_finite())
        );
    }
}

#[test]
fn a_seed_is_a_patient() {
    let once = record(&mixed(5), 10.0).unwrap();
    assert_eq!(once, record(&mixed(5), 10.0).unwrap());
    assert_ne!(once.leads, record(&mixed(6), 10.0).unwrap().leads);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn cuts_leave_no_trace(seed in 0u64..1000, cuts in prop::collection::vec(0u64..900, 1..40)) {
        let scenario = mixed(seed);
        let n: u64 = cuts.iter().sum();
        let whole = Simulator::new(&scenario).unwrap().advance(SampleCount(n));
        let mut simulator = Simulator::new(&scenario).unwrap();
        let mut leads = vec![Vec::new(); 12];
        let (mut ppg, mut truth) = (Vec::new(), Truth::default());
        let mut acceleration = [const { Vec::new() }; 3];
        for cut in cuts {
            let start = simulator.position();
            let part = simulator.advance(SampleCount(cut));
            prop_assert_eq!(part.start, start);
            for (row, lead) in leads.iter_mut().zip(Lead::TWELVE) {
                row.extend_from_slice(part.lead(lead).unwrap());
            }
            ppg.extend(part.ppg);
            for (all, axis) in acceleration.iter_mut().zip(part.acceleration) {
                all.extend(axis);
            }
            truth.append(part.truth);
        }
        prop_assert_eq!(leads.concat(), whole.leads);
        prop_assert_eq!(ppg, whole.ppg);
        prop_assert_eq!(acceleration, whole.acceleration);
        prop_assert_eq!(truth, whole.truth);
    }
}

#[test]
fn r_peaks_are_extrema_of_lead_ii() {
    for seed in 0..40 {
        for rhythm in [
            Rhythm::Sinus { bpm: 70.0 },
            Rhythm::Sinus { bpm: 150.0 },
            Rhythm::VentricularTachycardia { bpm: 150.0 },
        ] {
            let segment = clean(seed, rhythm, 20.0);
            let ii = segment.lead(Lead::II).unwrap();
            assert!(segment.truth.beats.len() > 10);
            for beat in &segment.truth.beats {
                let r = at(beat.r_peak);
                let around = r.saturating_sub(40)..(r + 40).min(ii.len());
                let largest = around.max_by(|&a, &b| ii[a].abs().total_cmp(&ii[b].abs()));
                let off = largest.unwrap().abs_diff(r) as f64 / HZ;
                assert!(off <= 0.01, "seed {seed}, {rhythm:?}: {off} s off");
            }
        }
    }
}

#[test]
fn amplitudes_and_intervals_are_those_of_a_person() {
    for seed in 0..200 {
        let segment = clean(seed, Rhythm::Sinus { bpm: 65.0 }, 6.0);
        let beat = segment.truth.beats[2];
        let extremes = |lead: Lead| {
            let qrs = &segment.lead(lead).unwrap()[at(beat.qrs.onset)..at(beat.qrs.offset)];
            let fold = |pick: fn(f32, f32) -> f32| qrs.iter().copied().fold(0.0, pick);
            (fold(f32::min), fold(f32::max))
        };
        let (_, r_ii) = extremes(Lead::II);
        assert!((0.5..2.0).contains(&r_ii), "seed {seed}: R in II {r_ii} mV");
        let (s_v1, r_v1) = extremes(Lead::V1);
        assert!(
            r_v1 > 0.03 && s_v1 < -2.0 * r_v1,
            "seed {seed}: V1 {r_v1} {s_v1} mV"
        );
        let (s_v5, r_v5) = extremes(Lead::V5);
        assert!(
            r_v5 > 0.6 && r_v5 > -2.0 * s_v5,
            "seed {seed}: V5 {r_v5} {s_v5} mV"
        );

        let ms = |from: ecg::SampleIndex, to: ecg::SampleIndex| to.since(from).0 as f64 * 1e3 / HZ;
        let qrs = ms(beat.qrs.onset, beat.qrs.offset);
        assert!((78.0..112.0).contains(&qrs), "seed {seed}: QRS {qrs} ms");
        let pr = ms(beat.p.unwrap().onset, beat.qrs.onset);
        assert!((118.0..=202.0).contains(&pr), "seed {seed}: PR {pr} ms");
        let qt = ms(beat.qrs.onset, beat.t.offset);
        let qtc = qt / (60.0_f64 / 65.0).cbrt();
        assert!((365.0..=450.0).contains(&qtc), "seed {seed}: QTc {qtc} ms");
        let t = segment.lead(Lead::II).unwrap()[at(beat.t.peak)];
        assert!((0.08..0.8).contains(&t), "seed {seed}: T in II {t} mV");
        let p = segment.lead(Lead::II).unwrap()[at(beat.p.unwrap().peak)];
        assert!((0.06..0.25).contains(&p), "seed {seed}: P in II {p} mV");
    }
}

#[test]
fn the_mean_rate_is_as_asked() {
    #[track_caller]
    fn check(rhythm: Rhythm, bpm: f64, tolerance: f64) {
        for seed in 0..4 {
            let (rr, _) = mean_cv(&rr_seconds(&clean(seed, rhythm, 300.0).truth.beats, HZ));
            let found = 60.0 / rr;
            assert!(
                (found / bpm - 1.0).abs() < tolerance,
                "{rhythm:?}: {found} bpm"
            );
        }
    }
    let ectopic = |pattern| Rhythm::Ectopic { bpm: 70.0, pattern };
    let block = |degree| Rhythm::AvBlock { bpm: 80.0, degree };
    for bpm in [30.0, 45.0, 72.0, 130.0, 180.0] {
        check(Rhythm::Sinus { bpm }, bpm, 0.02);
    }
    check(Rhythm::AtrialFibrillation { bpm: 95.0 }, 95.0, 0.05);
    check(Rhythm::VentricularTachycardia { bpm: 190.0 }, 190.0, 0.02);
    check(ectopic(Ectopy::Single { per_minute: 10.0 }), 70.0, 0.03);
    check(ectopic(Ectopy::Bigeminy), 70.0, 0.03);
    check(ectopic(Ectopy::Couplets { per_minute: 6.0 }), 70.0, 0.03);
    check(block(AvBlock::First), 80.0, 0.02);
    check(block(AvBlock::Wenckebach), 64.0, 0.02);
    check(block(AvBlock::TwoToOne), 40.0, 0.02);
    check(block(AvBlock::Complete { escape_bpm: 38.0 }), 38.0, 0.02);
}

#[test]
fn fibrillating_atria_beat_irregularly_and_without_p() {
    for seed in 0..8 {
        let cv = |rhythm| mean_cv(&rr_seconds(&clean(seed, rhythm, 120.0).truth.beats, HZ)).1;
        let sinus = cv(Rhythm::Sinus { bpm: 80.0 });
        let fibrillation = cv(Rhythm::AtrialFibrillation { bpm: 80.0 });
        assert!(sinus < 0.08, "{sinus}");
        assert!(
            fibrillation > 0.15 && fibrillation > 2.0 * sinus,
            "{fibrillation}"
        );
        let segment = clean(seed, Rhythm::AtrialFibrillation { bpm: 80.0 }, 20.0);
        assert!(segment.truth.beats.iter().all(|beat| beat.p.is_none()));
    }
}

#[test]
fn beatless_rhythms_have_neither_beats_nor_pulses() {
    for rhythm in [Rhythm::Asystole, Rhythm::VentricularFibrillation] {
        let scenario = Scenario {
            rhythms: vec![
                (Rhythm::Sinus { bpm: 80.0 }, 10.0),
                (rhythm, 10.0),
                (Rhythm::Sinus { bpm: 60.0 }, 10.0),
            ],
            ..scenario(3, rhythm, Noise::NONE)
        };
        let segment = record(&scenario, 30.0).unwrap();
        let seconds = |index: ecg::SampleIndex| index.0 as f64 / HZ;
        let silent = |t: f64| (10.0..20.0).contains(&t);
        assert!(
            segment
                .truth
                .beats
                .iter()
                .all(|beat| !silent(seconds(beat.r_peak)))
        );
        let late = |beat: &TrueBeat| beat.pulse_onset.is_some_and(|p| silent(seconds(p) - 0.3));
        assert!(!segment.truth.beats.iter().any(late));
        assert_eq!(segment.truth.episodes.len(), 3);
        assert_eq!(segment.truth.episodes[1].rhythm, rhythm);
        assert_eq!(segment.truth.episodes[1].start.0, 5000);

        let peak = segment.lead(Lead::II).unwrap()[5500..9500]
            .iter()
            .fold(0.0_f32, |peak, x| peak.max(x.abs()));
        match rhythm {
            Rhythm::Asystole => assert_eq!(peak, 0.0),
            _ => assert!((0.2..2.5).contains(&peak), "{peak} mV"),
        }
        let ppg = &segment.ppg[1200..1950];
        let spread = ppg.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!(spread < 0.1, "{spread}");
    }
}

#[test]
fn ventricular_fibrillation_oscillates_at_4_to_7_hz() {
    for seed in 0..10 {
        let segment = clean(seed, Rhythm::VentricularFibrillation, 60.0);
        let ii = segment.lead(Lead::II).unwrap();
        let crossings = ii
            .windows(2)
            .filter(|x| (x[0] < 0.0) != (x[1] < 0.0))
            .count();
        let hz = crossings as f64 / 120.0;
        assert!((4.0..7.0).contains(&hz), "{hz} Hz");
    }
}

#[test]
fn ectopic_beats_are_early_wide_and_followed_by_a_pause() {
    let rhythm = Rhythm::Ectopic {
        bpm: 70.0,
        pattern: Ectopy::Single { per_minute: 8.0 },
    };
    let segment = clean(11, rhythm, 600.0);
    let beats = &segment.truth.beats;
    let n = beats
        .iter()
        .filter(|beat| beat.class == BeatClass::V)
        .count();
    assert!((55..110).contains(&n), "{n} in 10 minutes");
    for trio in beats
        .windows(3)
        .filter(|trio| trio[1].class == BeatClass::V)
    {
        let rr = rr_seconds(trio, HZ);
        assert!(rr[0] < 0.65 && rr[1] > 0.95, "{rr:?}");
        let wide = trio[1].qrs.offset.since(trio[1].qrs.onset).0 as f64 / HZ;
        assert!(wide > 0.12, "{wide} s");
        assert!(trio[1].p.is_none());
    }
    let pairs = Rhythm::Ectopic {
        bpm: 70.0,
        pattern: Ectopy::Couplets { per_minute: 5.0 },
    };
    let letters: String = clean(1, pairs, 300.0)
        .truth
        .beats
        .iter()
        .map(|beat| beat.class.letter())
        .collect();
    assert!(letters.contains("NVVN") && !letters.contains("VVV") && !letters.contains("NVN"));
    let bigeminy = Rhythm::Ectopic {
        bpm: 70.0,
        pattern: Ectopy::Bigeminy,
    };
    let beats = clean(1, bigeminy, 60.0).truth.beats;
    assert!(
        beats[1..]
            .windows(2)
            .all(|pair| pair[0].class != pair[1].class)
    );
    let atrial = Rhythm::Ectopic {
        bpm: 70.0,
        pattern: Ectopy::Atrial { per_minute: 6.0 },
    };
    let beats = clean(1, atrial, 300.0).truth.beats;
    assert!(
        beats
            .iter()
            .filter(|beat| beat.class == BeatClass::S)
            .count()
            > 15
    );
}

#[test]
fn blocks_prolong_pr_or_drop_beats() {
    let beats_of = |degree| clean(2, Rhythm::AvBlock { bpm: 70.0, degree }, 120.0).truth;
    let pr = |beat: &TrueBeat| beat.qrs.onset.since(beat.p.unwrap().onset).0 as f64 / HZ;

    let first = beats_of(AvBlock::First);
    assert!(first.beats.iter().all(|beat| pr(beat) > 0.2));
    let wenckebach = beats_of(AvBlock::Wenckebach);
    let longer = wenckebach
        .beats
        .windows(2)
        .filter(|b| pr(&b[1]) > pr(&b[0]));
    assert!(longer.count() * 10 > wenckebach.beats.len() * 7);
    let ratio = wenckebach.beats.len() as f64 / wenckebach.lone_p.len() as f64;
    assert!((3.7..4.4).contains(&ratio), "{ratio} beats a blocked P");
    let two = beats_of(AvBlock::TwoToOne);
    assert!(two.beats.len().abs_diff(two.lone_p.len()) <= 1);
    let third = beats_of(AvBlock::Complete { escape_bpm: 38.0 });
    assert!(third.beats.iter().all(|beat| beat.p.is_none()));
    assert!(third.lone_p.len().abs_diff(140) <= 4);
}

#[test]
fn a_pause_lasts_as_long_as_asked() {
    let rhythm = Rhythm::Pause {
        bpm: 70.0,
        seconds: 3.5,
    };
    let rr = rr_seconds(&clean(9, rhythm, 60.0).truth.beats, HZ);
    assert_eq!(rr.iter().filter(|&&rr| rr > 2.0).count(), 1);
    assert!((rr[1] - 3.5).abs() < 0.01, "{rr:?}");
}

#[test]
fn pulses_follow_beats_by_the_transit_time() {
    for seed in 0..20 {
        let segment = clean(seed, Rhythm::Sinus { bpm: 70.0 }, 30.0);
        for beat in &segment.truth.beats[1..segment.truth.beats.len() - 2] {
            let onset = beat.pulse_onset.unwrap();
            let transit = onset.since(beat.r_peak).0 as f64 / HZ;
            assert!((0.19..0.26).contains(&transit), "{transit} s");
            // The PPG is lowest at the foot and high 150 ms later.
            let foot = at(onset) / 5;
            let ppg = &segment.ppg;
            let around = foot.saturating_sub(12)..foot + 8;
            let lowest = around.min_by(|&a, &b| ppg[a].total_cmp(&ppg[b])).unwrap();
            assert!(lowest.abs_diff(foot) <= 4, "{lowest} {foot}");
            assert!(ppg[foot + 15] - ppg[foot] > 0.4);
        }
    }
    let bigeminy = Rhythm::Ectopic {
        bpm: 75.0,
        pattern: Ectopy::Bigeminy,
    };
    let segment = clean(4, bigeminy, 30.0);
    let rise = |beat: &TrueBeat| {
        let foot = at(beat.pulse_onset.unwrap()) / 5;
        segment.ppg[foot + 12] - segment.ppg[foot]
    };
    for pair in segment.truth.beats[2..20].windows(2) {
        if pair[0].class == BeatClass::N && pair[1].pulse_onset.is_some() {
            assert!(rise(&pair[1]) < 0.6 * rise(&pair[0]));
        }
    }
}

#[test]
fn an_electrode_that_is_off_spoils_the_leads_that_need_it() {
    let off = |contact| Scenario {
        contact_off: vec![OffSpan {
            contact,
            start: 4.0,
            seconds: 2.0,
        }],
        ..scenario(1, Rhythm::Sinus { bpm: 70.0 }, Noise::NONE)
    };
    let whole = clean(1, Rhythm::Sinus { bpm: 70.0 }, 10.0);
    for contact in [
        Contact::RA,
        Contact::LA,
        Contact::LL,
        Contact::V1,
        Contact::V6,
    ] {
        let segment = record(&off(contact), 10.0).unwrap();
        let [span] = segment.truth.contact_off[..] else {
            panic!("one span");
        };
        assert_eq!((span.start.0, span.end.0), (2000, 3000));
        for lead in Lead::TWELVE {
            let same = segment.lead(lead).unwrap() == whole.lead(lead).unwrap();
            assert_eq!(
                same,
                !contact.affects(SignalKind::Ecg(lead)),
                "{contact:?} {lead}"
            );
            assert_eq!(segment.lead_off(SignalKind::Ecg(lead)), !same);
            assert_eq!(
                segment.lead(lead).unwrap()[..2000],
                whole.lead(lead).unwrap()[..2000]
            );
        }
        assert!(!segment.lead_off(SignalKind::Ppg(Wavelength::Green)));
    }
    let dark = record(&off(Contact::Ppg), 10.0).unwrap();
    assert_eq!(dark.leads, whole.leads);
    assert!(dark.ppg[400..600].iter().all(|&x| x == 0.0));
    assert_eq!(dark.ppg[..400], whole.ppg[..400]);
}

#[test]
fn noise_is_as_loud_as_asked() {
    #[track_caller]
    fn check(noise: Noise, rms: f64) {
        // An asystole shows nothing else; a chest lead is its electrode's noise and a third of each limb's.
        let mut found = 0.0;
        for seed in 0..8 {
            let segment = record(&scenario(seed, Rhythm::Asystole, noise), 60.0).unwrap();
            let v1 = segment.lead(Lead::V1).unwrap();
            let power: f64 = v1.iter().map(|&x| f64::from(x).powi(2)).sum();
            found += power / v1.len() as f64 / 8.0;
        }
        let expected = rms * (4.0_f64 / 3.0).sqrt();
        assert!(
            (found.sqrt() / expected - 1.0).abs() < 0.35,
            "{} mV",
            found.sqrt()
        );
    }
    let none = Noise::NONE;
    check(
        Noise {
            wander: 0.2,
            ..none
        },
        0.2,
    );
    check(
        Noise {
            muscle: 0.05,
            ..none
        },
        0.05,
    );
    check(
        Noise {
            mains: 0.1,
            mains_hz: 60.0,
            ..none
        },
        0.1,
    );
}

#[test]
fn values_outside_their_limits_are_refused() {
    #[track_caller]
    fn check(change: impl Fn(&mut Scenario), message: &str) {
        let mut scenario = Scenario::new(0, rate(250.0));
        change(&mut scenario);
        let error = Simulator::new(&scenario).err().unwrap();
        assert!(matches!(error, Error::Scenario { .. }));
        assert_eq!(error.to_string(), message);
    }
    check(
        |s| s.rhythms.clear(),
        "simulator: number of rhythms 0 is outside 1 to 1000000",
    );
    check(
        |s| s.rhythms[0].0 = Rhythm::Sinus { bpm: f64::NAN },
        "simulator: beats per minute NaN is outside 20 to 220",
    );
    check(
        |s| s.repeat = true,
        "simulator: seconds of a rhythm inf is outside 1 to 1000000",
    );
    check(
        |s| s.noise.muscle = -1.0,
        "simulator: muscle noise -1 is outside 0 to 10",
    );
    let off = OffSpan {
        contact: Contact::V1,
        start: -1.0,
        seconds: 1.0,
    };
    check(
        |s| s.contact_off = vec![off],
        "simulator: start of a contact off -1 is outside 0 to 1000000000",
    );
    assert!(record(&Scenario::new(0, rate(250.0)), f64::NAN).is_err());
}

#[test]
fn a_record_of_nothing_is_empty() {
    let segment = record(&Scenario::new(0, rate(25.0)), 0.0).unwrap();
    assert!(segment.leads.is_empty() && segment.truth.beats.is_empty());
}

#[test]
fn steps_move_the_device_and_its_pulse() {
    let scenario = Scenario {
        ppg_rate: Some(rate(50.0)),
        acceleration_rate: Some(rate(50.0)),
        noise: Noise {
            steps_per_minute: 110.0,
            ..Noise::REST
        },
        // From 30 s on somebody walks.
        unrest: vec![(29.0, 0.0), (30.0, 1.0)],
        ..Scenario::new(3, rate(250.0))
    };
    let segment = record(&scenario, 60.0).unwrap();
    let [x, y, z] = &segment.acceleration;
    assert_eq!([x.len(), y.len(), z.len()], [3000; 3]);
    // At rest there is gravity, and little else.
    for k in 0..1400 {
        let g = (x[k].powi(2) + y[k].powi(2) + z[k].powi(2)).sqrt();
        assert!((g - 1.0).abs() < 0.05, "{g}");
    }
    let spread = |values: &[f32]| {
        let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), x| {
            (low.min(*x), high.max(*x))
        });
        high - low
    };
    assert!(spread(&z[1500..]) > 0.6);
    assert!(spread(&segment.ppg[1500..]) > 1.5 * spread(&segment.ppg[..1400]));
    let error = record(
        &Scenario {
            noise: Noise {
                steps_per_minute: 300.0,
                ..Noise::REST
            },
            ..scenario
        },
        1.0,
    );
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains("steps per minute") && message.contains("300"),
        "{message}"
    );
}
