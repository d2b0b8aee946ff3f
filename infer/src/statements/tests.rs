use std::collections::BTreeSet;

use ecg::{
    Beat, BeatClass, Intervals, Levels, Measurement, Quality, QualityReason, SampleCount,
    SampleRate, SignalKind, Values, Wave,
};
use proptest::prelude::*;

use super::*;
use crate::numbers::median;

const HZ: f64 = 500.0;
const THREE: [Lead; 3] = [Lead::II, Lead::V1, Lead::V5];

/// A normal heart: beats at the ends of `rr_ms`, measured on `leads`, every second of them clean.
fn context(rr_ms: &[f64], leads: &[Lead]) -> Context {
    let rate = SampleRate::new(HZ).unwrap();
    let mut at = SampleIndex(1000);
    let mut beats = vec![at];
    for rr in rr_ms {
        at = at.after(rate.count(rr / 1e3));
        beats.push(at);
    }
    let end = at.after(SampleCount(500));
    let seconds = 1..=end.0 / 500;
    let quality = seconds.flat_map(|second| {
        leads.iter().map(move |lead| Quality {
            signal: SignalKind::Ecg(*lead),
            start: SampleIndex(500 * second),
            end: SampleIndex(500 * second + 500),
            score: 0.9,
            reason: QualityReason::Good,
        })
    });
    let usual = median(rr_ms.iter().map(|rr| single(*rr))).unwrap_or(1000.0);
    Context {
        start: SampleIndex(500),
        end,
        rate,
        leads: leads.to_vec(),
        measurements: beats
            .iter()
            .map(|at| measurement(*at, usual, leads))
            .collect(),
        beats: beats
            .into_iter()
            .map(|r_peak| Beat {
                r_peak,
                class: Some(BeatClass::N),
            })
            .collect(),
        quality: quality.collect(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "made up, and read as f32")]
fn single(value: f64) -> f32 {
    value as f32
}

fn steady(bpm: f64, leads: &[Lead]) -> Context {
    context(&[60_000.0 / bpm; 12], leads)
}

fn measurement(at: SampleIndex, rr_ms: f32, leads: &[Lead]) -> Measurement {
    let r = at.0 as f64;
    let wave = |from: f64, peak: f64, to: f64| Wave {
        onset: r + from,
        peak: r + peak,
        offset: r + to,
    };
    let level = |lead: &Lead| {
        let (r, s) = match lead {
            Lead::V1 => (0.2, -0.9),
            Lead::V2 | Lead::V3 => (0.6, -1.1),
            Lead::AVR => (0.1, -0.8),
            _ => (1.1, -0.05),
        };
        Levels {
            lead: *lead,
            p_mv: Some(0.1),
            q_mv: None,
            r_mv: Some(r),
            s_mv: Some(s),
            t_mv: Some(0.3),
            st_j60_mv: Some(0.01),
            st_j80_mv: Some(0.02),
        }
    };
    let values = Values {
        intervals: Intervals {
            rr_ms: Some(rr_ms),
            pr_ms: Some(160.0),
            qrs_ms: Some(90.0),
            qt_ms: Some(400.0 * (rr_ms / 1e3).cbrt()),
            ..Intervals::default()
        },
        axis_degrees: Some(45.0),
        levels: leads.iter().map(level).collect(),
    };
    Measurement {
        r_peak: at,
        lead: leads.first().copied().unwrap_or(Lead::II),
        p: Some(wave(-100.0, -80.0, -60.0)),
        qrs: wave(-20.0, 0.0, 25.0),
        t: Some(wave(80.0, 130.0, 170.0)),
        median: values.clone(),
        values,
        n_beats: 1,
    }
}

impl Context {
    fn classes(mut self, letters: &str) -> Self {
        for (beat, letter) in self.beats.iter_mut().zip(letters.chars()) {
            beat.class = letter.to_string().parse().ok();
        }
        self
    }

    fn each(mut self, mut change: impl FnMut(&mut Measurement)) -> Self {
        self.measurements.iter_mut().for_each(&mut change);
        self
    }

    fn level(self, lead: Lead, change: impl Fn(&mut Levels)) -> Self {
        self.each(|measurement| {
            let levels = measurement.values.levels.iter_mut();
            levels.filter(|l| l.lead == lead).for_each(&change);
        })
    }

    fn qrs(self, qrs_ms: f32) -> Self {
        self.each(|measurement| measurement.values.intervals.qrs_ms = Some(qrs_ms))
    }

    fn without_p(self) -> Self {
        self.each(|measurement| {
            measurement.p = None;
            measurement.values.intervals.pr_ms = None;
        })
    }
}

/// Statements, once each of their values has been found again.
fn said(context: &Context) -> Vec<Finding> {
    let limits = Limits::default();
    let found = statements(context, &limits);
    for finding in &found {
        verify(context, finding);
    }
    let labels: BTreeSet<_> = found.iter().map(|f| f.label.name.clone()).collect();
    assert_eq!(labels.len(), found.len(), "each label once");
    found
}

#[track_caller]
fn check(context: &Context, expected: &[&str]) -> Vec<Finding> {
    let found = said(context);
    let names: Vec<_> = found.iter().map(|finding| &*finding.label.name).collect();
    assert_eq!(names, expected);
    found
}

fn value(finding: &Finding, name: &str) -> f32 {
    let values = finding.evidence.values.iter();
    values
        .clone()
        .find(|value| value.name == name)
        .unwrap()
        .value
}

/// Finds every value of a finding again, from the context and the beats that it names alone, and that it is beyond its limit.
fn verify(context: &Context, finding: &Finding) {
    assert_eq!((finding.start, finding.end), (context.start, context.end));
    assert_eq!(finding.source, Source::Rule);
    assert!(!finding.evidence.text.is_empty() && !finding.evidence.text.contains("NaN"));
    assert!(!finding.leads.is_empty() && !finding.evidence.beats.is_empty());
    for (lead, origin) in &finding.leads {
        assert!(context.leads.contains(lead) && *origin == LeadOrigin::Measured);
    }
    for value in &finding.evidence.values {
        let again = again(context, finding, value);
        let close = (again - value.value).abs() <= 1e-3 * again.abs().max(0.01);
        assert!(close, "{finding:?}: {value:?}, but {again}");
        match value.limit {
            Some(Limit::Above(limit)) => assert!(value.value > limit, "{value:?}"),
            Some(Limit::Below(limit)) => assert!(value.value < limit, "{value:?}"),
            None => {}
        }
    }
}

fn usable(context: &Context, lead: Lead, at: SampleIndex) -> bool {
    !context.quality.iter().any(|quality| {
        let here = quality.start <= at && at < quality.end;
        here && quality.signal == SignalKind::Ecg(lead) && !quality.usable()
    })
}

/// The interval before a beat, where no part of it lies in a second that every lead is unusable in.
fn rr(context: &Context, at: SampleIndex) -> Option<f32> {
    let k = context.beats.iter().position(|beat| beat.r_peak == at)?;
    let before = context.beats[k.checked_sub(1)?].r_peak;
    let seconds = (before.0 / 500..=at.0 / 500).map(|second| SampleIndex(500 * second));
    let blind = |second: SampleIndex| !context.leads.iter().any(|l| usable(context, *l, second));
    let ms = (at.0 as f64 - before.0 as f64) / HZ * 1e3;
    (ms > 0.0 && !seconds.into_iter().any(blind)).then_some(single(ms))
}

fn measured(context: &Context, at: SampleIndex) -> Option<&Measurement> {
    let measured = context.measurements.iter().find(|m| m.r_peak == at)?;
    usable(context, measured.lead, at).then_some(measured)
}

fn again(context: &Context, finding: &Finding, value: &Value) -> f32 {
    let beats = &finding.evidence.beats;
    let intervals: Vec<f32> = beats.iter().filter_map(|at| rr(context, *at)).collect();
    let seen: Vec<_> = beats
        .iter()
        .filter_map(|at| measured(context, *at))
        .collect();
    let middle = |values: &mut dyn Iterator<Item = f32>| {
        let mut sorted: Vec<_> = values.filter(|v| v.is_finite()).collect();
        sorted.sort_by(f32::total_cmp);
        f32::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
    };
    let over = |of: fn(&Intervals) -> Option<f32>| {
        middle(&mut seen.iter().filter_map(|m| of(&m.values.intervals)))
    };
    let level = |of: fn(&Levels) -> Option<f32>| {
        let lead = value.lead.unwrap();
        let read = seen.iter().filter(|m| usable(context, lead, m.r_peak));
        let levels = read.flat_map(|m| m.values.levels.iter().filter(|l| l.lead == lead));
        middle(&mut levels.filter_map(of))
    };
    // A beat in front of all others begins a run, if it is one of them.
    let mut runs: Vec<Vec<f32>> = vec![Vec::new()];
    let mut firsts = Vec::new();
    for pair in context.beats.windows(2) {
        let (before, at) = (pair[0].r_peak, pair[1].r_peak);
        let interval = rr(context, at);
        match (beats.contains(&before), beats.contains(&at)) {
            (true, true) if interval.is_some_and(|rr| rr <= 3000.0) => {
                runs.last_mut().unwrap().push(interval.unwrap());
            }
            (_, true) => {
                firsts.extend(interval);
                runs.push(Vec::new());
            }
            _ => {}
        }
    }
    let rates = runs.iter().filter(|run| !run.is_empty());
    let rates = rates.map(|run| 60_000.0 * run.len() as f32 / run.iter().sum::<f32>());
    let rr_ms = || middle(&mut intervals.iter().copied());
    let usual = || middle(&mut context.beats.iter().filter_map(|b| rr(context, b.r_peak)));
    match value.name {
        "rr_ms" => rr_ms(),
        "rate_bpm" => 60_000.0 / rr_ms(),
        "mean_rate_bpm" => 60_000.0 * intervals.len() as f32 / intervals.iter().sum::<f32>(),
        "rr_cv" => {
            let n = intervals.len() as f32;
            let mean = intervals.iter().sum::<f32>() / n;
            let squares = intervals.iter().map(|rr| (rr - mean).powi(2)).sum::<f32>();
            (squares / (n - 1.0)).sqrt() / mean
        }
        "rr_range_ms" => {
            let mut sorted = intervals.clone();
            sorted.sort_by(f32::total_cmp);
            sorted[sorted.len() - 2] - sorted[1]
        }
        "longest_rr_ms" => intervals.iter().copied().fold(0.0, f32::max),
        "n_beats" => beats.len() as f32,
        "n_leads" => finding.leads.len() as f32,
        "longest_run_beats" => runs.iter().map(|run| run.len() + 1).max().unwrap() as f32,
        "slowest_run_bpm" => rates.reduce(f32::min).unwrap(),
        "fastest_run_bpm" => rates.reduce(f32::max).unwrap(),
        "usual_rr_ms" => usual(),
        "coupling_share" => firsts.into_iter().fold(0.0, f32::max) / usual(),
        "p_share" => {
            seen.iter().filter(|m| m.p.is_some()).count() as f32 / seen.len().max(1) as f32
        }
        "pr_ms" => over(|i| i.pr_ms),
        "qrs_ms" => over(|i| i.qrs_ms),
        "qt_ms" => over(|i| i.qt_ms),
        "qtc_fridericia_ms" => over(|i| i.qt_ms) / (rr_ms() / 1e3).powf(1.0 / 3.0),
        "qtc_bazett_ms" => over(|i| i.qt_ms) / (rr_ms() / 1e3).powf(0.5),
        "axis_degrees" => {
            let axes = seen.iter().filter_map(|m| m.values.axis_degrees);
            median_of_angles(&axes.collect::<Vec<_>>())
        }
        "q_mv" => level(|l| l.q_mv.or(l.r_mv.or(l.s_mv).map(|_| 0.0))),
        "r_mv" => level(|l| l.r_mv.or(l.q_mv.or(l.s_mv).map(|_| 0.0))),
        "s_mv" => level(|l| l.s_mv.or(l.q_mv.or(l.r_mv).map(|_| 0.0))),
        "qrs_mv" => level(|l| {
            let any = [l.q_mv, l.r_mv, l.s_mv].into_iter().flatten();
            let (low, high) = any
                .clone()
                .fold((0f32, 0f32), |(a, b), v| (a.min(v), b.max(v)));
            any.count().checked_sub(1).map(|_| high - low)
        }),
        "st_j_mv" => 4.0 * level(|l| l.st_j60_mv) - 3.0 * level(|l| l.st_j80_mv),
        "t_mv" => level(|l| l.t_mv),
        "st_j60_mv" => level(|l| l.st_j60_mv),
        "st_j80_mv" => level(|l| l.st_j80_mv),
        other => panic!("nobody finds {other} again"),
    }
}

fn median_of_angles(angles: &[f32]) -> f32 {
    let finite: Vec<f32> = angles.iter().copied().filter(|a| a.is_finite()).collect();
    view::median_angle(&finite).unwrap()
}

#[test]
fn a_normal_heart_is_called_normal_whatever_leads_there_are() {
    for leads in [&Lead::TWELVE[..], &THREE, &[Lead::II], &[Lead::Unstated]] {
        let found = check(&steady(72.0, leads), &["normal_sinus_rhythm"]);
        let text = &found[0].evidence.text;
        assert_eq!(
            text,
            "72/min, P before 12 of 12 measured beats, PR 160 ms, QRS 90 ms"
        );
        assert_eq!(found[0].evidence.beats.len(), 12);
    }
    // Not what is not known.
    check(&steady(72.0, &THREE).without_p(), &[]);
    let mut unmeasured = steady(72.0, &THREE);
    unmeasured.measurements.clear();
    check(&unmeasured, &[]);
}

#[test]
fn slow_and_fast_are_of_the_sinus_only_with_p_waves() {
    let found = check(&steady(45.0, &THREE), &["sinus_bradycardia"]);
    assert!((value(&found[0], "rate_bpm") - 45.0).abs() < 0.1);
    check(&steady(45.0, &THREE).without_p(), &["bradycardia"]);
    check(&steady(120.0, &THREE), &["sinus_tachycardia"]);
    check(&steady(120.0, &THREE).without_p(), &["tachycardia"]);
    // P waves at any distance are no sinus rhythm.
    let mut k = 0.0;
    let unsteady = steady(120.0, &THREE).each(|measurement| {
        k = (k + 70.0) % 190.0;
        measurement.values.intervals.pr_ms = Some(90.0 + k);
    });
    check(&unsteady, &["tachycardia"]);
    // Short intervals are no tachycardia where long ones make up for them.
    let pairs = context(
        &[550.0, 550.0, 1300.0, 550.0, 550.0, 1300.0, 550.0, 550.0],
        &THREE,
    );
    check(&pairs.without_p(), &[]);
    // At the limit is within it.
    check(&steady(50.0, &THREE), &["normal_sinus_rhythm"]);
    check(&steady(100.0, &THREE), &["normal_sinus_rhythm"]);
}

#[test]
fn breathing_makes_sinus_arrhythmia_and_one_early_beat_does_not() {
    let rr: Vec<f64> = (0..12)
        .map(|k| 900.0 + 100.0 * f64::from(k).sin())
        .collect();
    check(&context(&rr, &THREE), &["sinus_arrhythmia"]);
    let mut rr = vec![900.0; 12];
    rr[5] = 650.0;
    check(&context(&rr, &THREE), &["normal_sinus_rhythm"]);
    check(
        &context(
            &[600.0, 1100.0, 800.0, 1300.0, 700.0, 950.0, 500.0, 1200.0],
            &THREE,
        )
        .without_p(),
        &[],
    );
}

#[test]
fn a_pause_is_told_once_by_its_length() {
    let with = |pause: f64| {
        let mut rr = vec![900.0; 12];
        rr[6] = pause;
        context(&rr, &THREE)
    };
    let found = check(&with(2400.0), &["pause"]);
    assert_eq!(found[0].evidence.beats.len(), 1);
    let found = check(&with(3500.0), &["long_pause"]);
    assert_eq!(
        found[0].evidence.text,
        "1 RR interval of more than 3.0 s, the longest 3.50 s"
    );
    // Nothing is said of what nobody saw.
    let mut blind = with(3500.0);
    for quality in &mut blind.quality {
        if (4500..5000).contains(&quality.start.0) {
            quality.score = 0.1;
        }
    }
    check(&blind, &["normal_sinus_rhythm"]);
    // One lead that saw it is enough.
    for quality in &mut blind.quality {
        if quality.signal == SignalKind::Ecg(Lead::V5) {
            quality.score = 0.9;
        }
    }
    assert_eq!(said(&blind)[0].label, labels::LONG_PAUSE);
}

#[test]
fn a_long_pr_interval_is_av_block() {
    let long = steady(70.0, &THREE).each(|m| m.values.intervals.pr_ms = Some(220.0));
    let found = check(&long, &["first_degree_av_block"]);
    assert!((value(&found[0], "pr_ms") - 220.0).abs() < 0.1);
    assert_eq!(found[0].leads, [(Lead::II, LeadOrigin::Measured)]);
    let few = context(&[900.0; 3], &THREE).each(|m| m.values.intervals.pr_ms = Some(220.0));
    check(&few, &[]);
}

fn left_block(leads: &[Lead]) -> Context {
    let wide = steady(70.0, leads).qrs(150.0);
    let wide = wide.level(Lead::V1, |l| l.s_mv = Some(-1.5));
    wide.level(Lead::V5, |l| l.t_mv = Some(-0.2))
}

fn right_block(leads: &[Lead]) -> Context {
    let wide = steady(70.0, leads).qrs(140.0);
    let wide = wide.level(Lead::V1, |l| {
        (l.q_mv, l.r_mv, l.s_mv) = (Some(-0.3), Some(0.9), None);
    });
    let wide = wide.level(Lead::V6, |l| l.s_mv = Some(-0.4));
    wide.level(Lead::V5, |l| l.s_mv = Some(-0.3))
}

#[test]
fn wide_qrs_is_a_block_only_where_leads_show_its_pattern() {
    for leads in [&Lead::TWELVE[..], &THREE] {
        check(&left_block(leads), &["left_bundle_branch_block"]);
        check(&right_block(leads), &["right_bundle_branch_block"]);
    }
    for leads in [&[Lead::II][..], &[Lead::II, Lead::V1], &[Lead::I, Lead::V6]] {
        check(&left_block(leads), &["wide_qrs"]);
    }
    // A QS complex whose raised ST segment is read as R.
    let qs = left_block(&THREE).level(Lead::V1, |l| {
        (l.q_mv, l.r_mv, l.s_mv) = (Some(-1.5), Some(0.2), None);
    });
    check(&qs, &["left_bundle_branch_block"]);
    let along = left_block(&THREE).level(Lead::V5, |l| l.t_mv = Some(0.2));
    check(&along, &["wide_qrs"]);
    let q = left_block(&Lead::TWELVE).level(Lead::V6, |l| l.q_mv = Some(-0.2));
    check(&q, &["wide_qrs"]);
    check(&steady(70.0, &THREE).qrs(120.0), &["normal_sinus_rhythm"]);
    // Repolarisation is not judged then.
    let changed = left_block(&Lead::TWELVE).each(|m| {
        m.values.intervals.qt_ms = Some(520.0);
        for levels in &mut m.values.levels {
            (levels.st_j60_mv, levels.st_j80_mv) = (Some(0.4), Some(0.4));
        }
    });
    check(&changed, &["left_bundle_branch_block"]);
}

#[test]
fn fast_and_wide_stands_alone() {
    let fast = steady(160.0, &THREE).qrs(150.0).without_p();
    let fast = fast.each(|m| m.values.axis_degrees = Some(80.0));
    let found = check(&fast, &["wide_qrs_tachycardia"]);
    let text = &found[0].evidence.text;
    assert!(text.starts_with("160/min, QRS 150 ms, RR CV 0.0"), "{text}");
    assert!(
        text.ends_with("axis 80°, P before 0 of 12 measured beats"),
        "{text}"
    );
    // Of whatever class; the first beats have nothing to be compared with.
    check(
        &fast.classes("VVVVVVVVVVVVV"),
        &["wide_qrs_tachycardia", "ventricular_tachycardia"],
    );
}

#[test]
fn ectopic_beats_are_told_by_how_they_come() {
    let beats = |letters: &str, early: f64| {
        let n = letters.len();
        let letters: Vec<char> = letters.chars().collect();
        let rr = (1..n).map(|k| if letters[k] == 'N' { 900.0 } else { early });
        let context = context(&rr.collect::<Vec<_>>(), &THREE);
        context.classes(&letters.iter().collect::<String>())
    };
    let wide = |letters: &str, early: f64| {
        let context = beats(letters, early);
        let beats = context.beats.clone();
        context.each(|m| {
            let beat = beats.iter().find(|b| b.r_peak == m.r_peak).unwrap();
            if beat.class == Some(BeatClass::V) {
                m.values.intervals.qrs_ms = Some(160.0);
            }
        })
    };
    let found = check(
        &wide("NNNNVNNNNVNNNN", 550.0),
        &["ventricular_premature_beats"],
    );
    assert_eq!(
        found[0].evidence.text,
        "2 of 14 beats, not in a pattern, QRS 160 ms"
    );
    // No wider than the others: not from a ventricle.
    check(&beats("NNNNVNNNNVNNNN", 550.0), &["normal_sinus_rhythm"]);
    check(&wide("NNNNVVNNNNNNNN", 550.0), &["ventricular_couplet"]);
    let found = check(&wide("NNNNVVVVNNNNNN", 400.0), &["ventricular_tachycardia"]);
    assert!((value(&found[0], "slowest_run_bpm") - 150.0).abs() < 0.1);
    check(&wide("NNNNVVVVNNNNNN", 700.0), &["idioventricular_rhythm"]);
    check(&wide("NNNNVNVNVNNNNN", 550.0), &["ventricular_bigeminy"]);
    check(
        &wide("NNNNVVNNVNNNVNVNVNNNN", 550.0),
        &[
            "ventricular_couplet",
            "ventricular_bigeminy",
            "ventricular_premature_beats",
        ],
    );
    let found = check(
        &beats("NNNNNSNNNNNNNN", 600.0),
        &["supraventricular_premature_beats"],
    );
    assert!((value(&found[0], "coupling_share") - 2.0 / 3.0).abs() < 1e-3);
    check(
        &beats("NNNNSNSNSNNNNN", 600.0),
        &["supraventricular_bigeminy"],
    );
    check(
        &beats("NNNNNNSSSSNNNNNNN", 400.0),
        &["supraventricular_tachycardia"],
    );
    // Neither early, nor at the start or the very end of the stretch.
    check(&beats("NNNNNSNNNNNNNN", 850.0), &["normal_sinus_rhythm"]);
    check(&wide("VSNNNNNNNNNNNN", 550.0), &["normal_sinus_rhythm"]);
    let mut cut = wide("NNNNNNNNNNNNNV", 550.0);
    cut.end = cut.beats[13].r_peak.after(SampleCount(50));
    check(&cut, &["normal_sinus_rhythm"]);
    // Paced or unclassifiable: nothing of it.
    check(&beats("QQQQQQQQQQQQQQ", 900.0), &[]);
}

#[test]
fn the_axis_deviates_to_the_left_the_right_and_out_of_sight() {
    let axis = |degrees: f32| {
        let mut sign = 1.0;
        steady(70.0, &Lead::TWELVE).each(move |m| {
            sign = -sign;
            let turned = degrees + 3.0 * sign;
            m.values.axis_degrees = Some((turned + 180.0).rem_euclid(360.0) - 180.0);
        })
    };
    check(&axis(-45.0), &["left_axis_deviation"]);
    check(&axis(110.0), &["right_axis_deviation"]);
    check(&axis(-135.0), &["extreme_axis_deviation"]);
    check(&axis(85.0), &["normal_sinus_rhythm"]);
    let found = said(&axis(179.9));
    assert!(value(&found[0], "axis_degrees").abs() > 170.0);
    let unknown = steady(70.0, &THREE).each(|m| m.values.axis_degrees = None);
    check(&unknown, &["normal_sinus_rhythm"]);
}

#[test]
fn voltage_is_low_where_all_leads_of_a_kind_are() {
    let low = |leads: &[Lead], of: &[Lead], mv: f32| {
        let of = of.to_vec();
        steady(70.0, leads).each(move |m| {
            let levels = m.values.levels.iter_mut();
            for levels in levels.filter(|levels| of.contains(&levels.lead)) {
                (levels.r_mv, levels.s_mv) = (Some(0.8 * mv), Some(-0.15 * mv));
            }
        })
    };
    let (limb, chest) = Lead::TWELVE.split_at(6);
    let found = check(&low(&Lead::TWELVE, limb, 0.4), &["low_qrs_voltage"]);
    assert_eq!(
        found[0].evidence.text,
        "QRS of at most 0.38 mV in all 6 limb leads measured"
    );
    check(&low(&Lead::TWELVE, chest, 1.0), &["low_qrs_voltage"]);
    let found = check(
        &low(&Lead::TWELVE, &Lead::TWELVE, 0.5),
        &["low_qrs_voltage"],
    );
    assert_eq!(found[0].leads.len(), 12);
    check(
        &low(&Lead::TWELVE, &limb[..5], 0.5),
        &["normal_sinus_rhythm"],
    );
    // One limb lead and two of the chest do not show that all are low.
    check(&low(&THREE, &THREE, 0.4), &["normal_sinus_rhythm"]);
    check(&low(&[Lead::I, Lead::II], limb, 0.4), &["low_qrs_voltage"]);
}

#[test]
fn qtc_is_told_in_both_corrections_and_not_of_an_uneven_rhythm() {
    let qt =
        |ms: f32, rr: &[f64]| context(rr, &THREE).each(|m| m.values.intervals.qt_ms = Some(ms));
    let found = check(&qt(450.0, &[800.0; 12]), &["long_qtc"]);
    assert!((value(&found[0], "qtc_fridericia_ms") - 484.75).abs() < 0.1);
    assert!((value(&found[0], "qtc_bazett_ms") - 503.12).abs() < 0.1);
    check(&qt(320.0, &[1000.0; 12]), &["short_qtc"]);
    check(&qt(400.0, &[1000.0; 12]), &["normal_sinus_rhythm"]);
    let uneven: Vec<f64> = (0..12)
        .map(|k| 800.0 + 200.0 * f64::from(k).sin())
        .collect();
    check(&qt(480.0, &uneven), &["sinus_arrhythmia"]);
    let limits = Limits {
        qt_correction: Correction::Bazett,
        ..Limits::default()
    };
    let between = qt(410.0, &[750.0; 12]);
    assert_eq!(statements(&between, &limits)[0].label, labels::LONG_QTC);
    check(&between, &["normal_sinus_rhythm"]);
}

#[test]
fn st_needs_a_contiguous_lead_to_agree_where_one_is_measured() {
    let st = |leads: &[Lead], shifted: &[(Lead, f32)]| {
        let shifted = shifted.to_vec();
        steady(70.0, leads).each(move |m| {
            for levels in &mut m.values.levels {
                for (_, mv) in shifted.iter().filter(|(lead, _)| *lead == levels.lead) {
                    (levels.st_j60_mv, levels.st_j80_mv) = (Some(*mv), Some(*mv));
                }
            }
        })
    };
    let all = &Lead::TWELVE[..];
    let found = check(
        &st(all, &[(Lead::II, 0.15), (Lead::AVF, 0.12)]),
        &["st_elevation"],
    );
    assert_eq!(
        found[0].evidence.text,
        "60 ms after J +0.15 mV in II, +0.12 mV in aVF; contiguous: II with aVF"
    );
    check(
        &st(all, &[(Lead::II, 0.15), (Lead::V5, 0.2)]),
        &["normal_sinus_rhythm"],
    );
    check(
        &st(all, &[(Lead::V2, 0.2), (Lead::V3, 0.2)]),
        &["normal_sinus_rhythm"],
    );
    check(
        &st(all, &[(Lead::V2, 0.3), (Lead::V3, 0.3)]),
        &["st_elevation"],
    );
    check(
        &st(all, &[(Lead::V4, -0.08), (Lead::V5, -0.1)]),
        &["st_depression"],
    );
    let found = check(
        &st(
            all,
            &[
                (Lead::V4, -0.08),
                (Lead::V5, -0.1),
                (Lead::II, 0.2),
                (Lead::III, 0.2),
            ],
        ),
        &["st_elevation", "st_depression"],
    );
    assert_eq!(found[1].leads.len(), 2);
    let found = check(&st(&THREE, &[(Lead::V5, -0.1)]), &["st_depression"]);
    let text = &found[0].evidence.text;
    assert_eq!(
        text,
        "60 ms after J -0.10 mV in V5 (no contiguous lead is measured)"
    );
    check(
        &st(all, &[(Lead::AVR, 0.3), (Lead::Unstated, 0.3)]),
        &["normal_sinus_rhythm"],
    );
    check(
        &st(&[Lead::Unstated], &[(Lead::Unstated, 0.3)]),
        &["normal_sinus_rhythm"],
    );
    // Slopes that only pass by.
    for (j60, j80) in [(-0.1, -0.02), (-0.15, -0.1), (0.12, 0.16)] {
        let rising = steady(70.0, &THREE).level(Lead::V5, |l| {
            (l.st_j60_mv, l.st_j80_mv) = (Some(j60), Some(j80));
        });
        check(&rising, &["normal_sinus_rhythm"]);
    }
    // Nor is what was read in seconds that mean nothing.
    let mut bad = st(&THREE, &[(Lead::V5, -0.1)]);
    for quality in &mut bad.quality {
        if quality.signal == SignalKind::Ecg(Lead::V5) {
            quality.score = 0.2;
        }
    }
    check(&bad, &["normal_sinus_rhythm"]);
}

#[test]
fn nothing_is_said_of_nothing() {
    let empty = context(&[], &[]);
    check(&empty, &[]);
    let mut few = steady(70.0, &THREE);
    few.beats.truncate(3);
    check(&few, &[]);
    few.beats.clear();
    check(&few, &[]);
    let mut backwards = steady(70.0, &THREE);
    backwards.beats.reverse();
    backwards.measurements.reverse();
    check(&backwards, &[]);
    let mut twice = steady(70.0, &THREE);
    twice.beats = twice.beats.iter().flat_map(|beat| [*beat; 2]).collect();
    said(&twice);
    let (mut inside_out, huge) = (steady(70.0, &THREE), SampleIndex(u64::MAX));
    (inside_out.start, inside_out.end) = (huge, SampleIndex(0));
    said(&inside_out);
    let nan = Limits {
        qrs_ms: f32::NAN,
        bradycardia_bpm: f32::NAN,
        ..Limits::default()
    };
    assert!(nan.check().is_err());
    statements(&steady(30.0, &THREE), &nan);
}

#[test]
fn limits_are_checked_and_labels_are_distinct() {
    assert!(Limits::default().check().is_ok());
    let bad = Limits {
        long_pause_seconds: 2.0,
        pause_seconds: 2.5,
        ..Limits::default()
    };
    let message = bad.check().unwrap_err().to_string();
    assert_eq!(
        message,
        "long_pause_seconds is 2, where 2.5 to 10 is allowed"
    );
    let read: Limits = toml::from_str("qt_correction = \"bazett\"\nqrs_ms = 130.0").unwrap();
    assert_eq!(
        (read.qt_correction, read.qrs_ms),
        (Correction::Bazett, 130.0)
    );
    assert!(toml::from_str::<Limits>("qrs = 130.0").is_err());
    let names: BTreeSet<_> = labels::ALL.iter().map(|label| &label.name).collect();
    let codes: Vec<_> = labels::ALL
        .iter()
        .filter_map(|label| label.snomed)
        .collect();
    assert_eq!(names.len(), labels::ALL.len());
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len());
}

/// Anything from nothing to infinity.
fn wild() -> impl Strategy<Value = Option<f32>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(f32::NAN)),
        1 => Just(Some(f32::INFINITY)),
        8 => (-600f32..600.0).prop_map(Some),
        8 => (-1f32..1.0).prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the values are around which those of a heart lie, what is said of them can be found again.
    #[test]
    fn what_is_said_follows_from_its_evidence(
        rr in prop_oneof![200f64..600.0, 500f64..1500.0],
        jitter in prop_oneof![Just(0.0), 0f64..300.0],
        n in 0usize..24,
        (pr, qrs, qt, axis) in (120f32..260.0, 70f32..170.0, 300f32..520.0, -180f32..180.0),
        (height, st) in (0.2f32..1.5, -0.3f32..0.4),
        classes in "[N]{3,9}[NSVQF]{0,12}",
        leads in proptest::sample::subsequence(Lead::TWELVE.to_vec(), 0..=12),
        bad in proptest::collection::vec((0usize..400, 0f32..1.0), 0..60),
        without in proptest::collection::vec(0usize..24, 0..6),
        noise in proptest::collection::vec(-0.1f32..0.1, 24),
    ) {
        let jittered: Vec<f64> = (0..n).map(|k| {
            (rr + jitter * f64::from(noise[k]) * 10.0).max(200.0)
        }).collect();
        let mut k = 0;
        let mut made = context(&jittered, &leads).classes(&classes).each(|m| {
            k += 1;
            let by = |value: f32| Some(value * (1.0 + noise[k % 24]));
            m.values.axis_degrees = Some(axis);
            m.values.intervals = Intervals { pr_ms: by(pr), qrs_ms: by(qrs), qt_ms: by(qt), ..m.values.intervals };
            for (j, levels) in m.values.levels.iter_mut().enumerate() {
                let mv = st + noise[(j + k) % 24];
                (levels.st_j60_mv, levels.st_j80_mv) = (Some(mv), Some(mv));
                (levels.r_mv, levels.q_mv) = (by(height), Some(-0.4 * noise[j].abs() * height));
            }
            if without.contains(&k) {
                (m.p, m.values.intervals.pr_ms) = (None, None);
            }
        });
        for (place, score) in bad {
            if let Some(quality) = made.quality.get_mut(place) {
                quality.score = score;
            }
        }
        said(&made);
    }

    #[test]
    fn no_value_makes_it_panic_or_say_what_is_no_number(
        rr in proptest::collection::vec(0f64..4000.0, 0..20),
        classes in "[NSVFQ]{0,20}",
        values in proptest::collection::vec(wild(), 40),
    ) {
        let mut k = 0;
        let mut next = move || { k += 1; values[k % values.len()] };
        let made = context(&rr, &Lead::TWELVE).classes(&classes).each(|m| {
            m.values.intervals = Intervals {
                pr_ms: next(), qrs_ms: next(), qt_ms: next(), rr_ms: next(), ..Intervals::default()
            };
            m.values.axis_degrees = next();
            for levels in &mut m.values.levels {
                (levels.q_mv, levels.r_mv, levels.s_mv) = (next(), next(), next());
                (levels.st_j60_mv, levels.st_j80_mv) = (next(), next());
            }
        });
        for finding in statements(&made, &Limits::default()) {
            for value in &finding.evidence.values {
                prop_assert!(value.value.is_finite(), "{:?}", finding);
            }
        }
    }
}
