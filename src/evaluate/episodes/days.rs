//! Simulated days with all that can happen in them, from noon on.
//!
//! Each patient has a rate of the own that falls at night, rests, walks about and climbs stairs, with as much noise as that
//! makes, and sleeps from eleven to seven. What is ordinary: single ventricular and atrial beats, couplets, bigeminy. What
//! happens: per 24 h four asystoles (5 to 15 s), ventricular fibrillations (12 to 45 s) and tachycardias (8 to 40 s,
//! 120 to 210 a minute) each, five pauses of 3.1 to 3.8 s, a complete block at 30 to 36 a minute and a tachycardia of 150 to 165;
//! electrodes fall off three times, and packets are lost six times. Of ten patients one is in fibrillation of the
//! atria, one has left bundle branch block, one has six to twelve ventricular beats a minute, and two have paroxysms of
//! fibrillation of the atria. Every fourth has lead II alone, the others II, V1 and V5; every other one a PPG besides.
//!
//! An hour is as another: the first one, in which what is usual is learnt, is no exception.

use std::ops::Range;

use ecg::simulate::{AvBlock, Contact, Ectopy, Episode, Noise, OffSpan, Rhythm, Scenario};
use ecg::{Beat, BootId, Condition, Gap, Lead, SampleIndex, SampleRate, SignalKind, Utc};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::super::on_all_cores;
use super::reference::{Facts, Reference, Spans, merged};
use super::watch::Watcher;
use super::{Options, RecordScore};
use crate::wearable::Simulated;

/// Simulated patients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Days {
    /// How many.
    pub patients: usize,
    /// For how many hours each.
    pub hours: f64,
    /// All that is random follows from it.
    pub seed: u64,
}

/// Nothing falls off, and no packet is lost, so near to what happens, seconds.
const UNDISTURBED: f64 = 90.0;
/// Shorter ones are not to be found: 2 s and a packet.
const LEAST_OFF_SECONDS: f64 = 4.0;
/// The hour at which a day begins, and those of sleep.
const NOON: f64 = 12.0;
const SLEEP: (f64, f64) = (23.0, 7.0);

/// Scores each patient. `progress` is told how many are done, of how many.
pub(super) fn scores(
    days: &Days,
    options: &Options,
    progress: impl Fn(usize, usize) + Sync,
) -> Vec<(String, Result<RecordScore, String>)> {
    let patients: Vec<usize> = (0..days.patients).collect();
    on_all_cores(&patients, progress, |&k| {
        let day = Day::new(days, k);
        (
            format!("patient-{k}"),
            score(&day, options, format!("patient-{k}")),
        )
    })
}

/// What happens to one patient.
struct Day {
    scenario: Scenario,
    leads: Vec<Lead>,
    /// Seconds whose packets are lost.
    lost: Vec<Range<u64>>,
    seconds: u64,
}

/// A day in the making.
struct Making {
    chance: StdRng,
    rhythms: Vec<(Rhythm, f64)>,
    unrest: Vec<(f64, f64)>,
    now: f64,
    bpm: f64,
}

impl Making {
    fn push(&mut self, rhythm: Rhythm, seconds: f64) {
        self.rhythms.push((rhythm, seconds));
        self.now += seconds;
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.chance.random_range(low..high)
    }
}

/// What a patient usually is.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Sinus,
    Paroxysms,
    Fibrillation,
    Ectopy,
    Block,
}

impl Day {
    fn new(days: &Days, k: usize) -> Self {
        let seed = days.seed.wrapping_mul(1_000_003).wrapping_add(k as u64);
        let kind = match k % 10 {
            2 | 7 => Kind::Paroxysms,
            4 => Kind::Fibrillation,
            6 => Kind::Ectopy,
            8 => Kind::Block,
            _ => Kind::Sinus,
        };
        let mut making = Making {
            chance: StdRng::seed_from_u64(seed),
            rhythms: Vec::new(),
            unrest: Vec::new(),
            now: 0.0,
            bpm: 70.0,
        };
        let total = days.hours * 3600.0;
        let base = making.between(60.0, 78.0);
        let own = match kind {
            Kind::Ectopy => making.between(6.0, 12.0),
            _ => 0.0,
        };
        let happening = happening(&mut making, total);
        let mut next = happening.iter().peekable();
        let mut happened = Vec::new();
        while making.now < total {
            while let Some((_, rhythm, seconds)) = next.next_if(|(at, ..)| *at <= making.now) {
                happened.push(making.now);
                making.push(*rhythm, *seconds);
                let bpm = making.bpm;
                making.push(usual(kind, bpm, own), 60.0);
            }
            stretch(&mut making, kind, base, own);
        }
        // Nothing goes on for ever that should not.
        making.push(usual(kind, base, own), 60.0);
        let contact_off = contacts(&mut making, total, &happened, k);
        let lost = losses(&mut making, total, &happened, &contact_off);
        let rate = SampleRate::new(250.0);
        let ppg = SampleRate::new(50.0).ok().filter(|_| k % 2 == 1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "hours of a day"
        )]
        Self {
            scenario: Scenario {
                ppg_rate: ppg,
                rhythms: making.rhythms,
                noise: Noise::AMBULATORY,
                unrest: making.unrest,
                left_bundle_branch_block: kind == Kind::Block,
                contact_off,
                ..Scenario::new(seed, rate.expect("250 Hz is a rate"))
            },
            leads: if k % 4 == 3 {
                vec![Lead::II]
            } else {
                vec![Lead::II, Lead::V1, Lead::V5]
            },
            lost,
            seconds: total as u64,
        }
    }
}

/// The rhythm of a patient when nothing happens.
fn usual(kind: Kind, bpm: f64, own: f64) -> Rhythm {
    match kind {
        Kind::Fibrillation => Rhythm::AtrialFibrillation { bpm: bpm + 12.0 },
        Kind::Ectopy => Rhythm::Ectopic {
            bpm,
            pattern: Ectopy::Single { per_minute: own },
        },
        Kind::Sinus | Kind::Paroxysms | Kind::Block => Rhythm::Sinus { bpm },
    }
}

/// What happens when: at about equal distances, in any order.
fn happening(making: &mut Making, total: f64) -> Vec<(f64, Rhythm, f64)> {
    let mut all: Vec<(Rhythm, f64)> = Vec::new();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few a day"
    )]
    let times = |per_day: f64| (per_day * total / 86_400.0).round() as usize;
    for _ in 0..times(4.0) {
        all.push((Rhythm::Asystole, making.between(5.0, 15.0)));
        let bpm = making.between(120.0, 210.0);
        let seconds = making.between(8.0, 40.0);
        all.push((Rhythm::VentricularTachycardia { bpm }, seconds));
        let seconds = making.between(12.0, 45.0);
        all.push((Rhythm::VentricularFibrillation, seconds));
    }
    for _ in 0..times(5.0) {
        let (bpm, seconds) = (making.between(55.0, 80.0), making.between(3.1, 3.8));
        all.push((Rhythm::Pause { bpm, seconds }, 12.0));
    }
    for _ in 0..times(1.0) {
        let degree = AvBlock::Complete {
            escape_bpm: making.between(30.0, 36.0),
        };
        all.push((Rhythm::AvBlock { bpm: 75.0, degree }, 60.0));
        let bpm = making.between(150.0, 165.0);
        all.push((Rhythm::Sinus { bpm }, 180.0));
    }
    all.shuffle(&mut making.chance);
    let slot = total / all.len().max(1) as f64;
    let mut timed = Vec::new();
    for (k, (rhythm, seconds)) in all.into_iter().enumerate() {
        let at = slot * (k as f64 + making.between(0.2, 0.8));
        timed.push((at, rhythm, seconds));
    }
    timed
}

/// Some minutes of one activity.
fn stretch(making: &mut Making, kind: Kind, base: f64, own: f64) {
    let hour = (NOON + making.now / 3600.0) % 24.0;
    let asleep = hour >= SLEEP.0 || hour < SLEEP.1;
    // What noise is multiplied with, and what the rate rises by.
    let (unrest, rise) = match making.between(0.0, 1.0) {
        _ if asleep => (0.12, -9.0),
        p if p < 0.55 => (0.3, 0.0),
        p if p < 0.83 => (0.6, 6.0),
        p if p < 0.97 => (1.0, 22.0),
        _ => (1.5, 46.0),
    };
    let bpm = base + rise + making.between(-3.0, 3.0);
    let level = making.unrest.last().map_or(unrest, |last| last.1);
    let now = making.now;
    making.unrest.extend([(now, level), (now + 5.0, unrest)]);
    let from = making.bpm;
    making.bpm = bpm;
    if (bpm - from).abs() > 8.0 {
        for step in 1..=4 {
            let bpm = from + (bpm - from) * f64::from(step) / 5.0;
            making.push(usual(kind, bpm, own), 15.0);
        }
    }
    let seconds = making.between(180.0, 600.0);
    let ordinary = kind != Kind::Fibrillation && bpm < 110.0;
    let ectopic = |pattern| Rhythm::Ectopic { bpm, pattern };
    match making.between(0.0, 1.0) {
        p if p < 0.10 && ordinary => {
            let per_minute = making.between(0.3, 3.0);
            making.push(ectopic(Ectopy::Single { per_minute }), seconds);
        }
        p if p < 0.14 && ordinary => {
            let per_minute = making.between(1.0, 4.0);
            making.push(ectopic(Ectopy::Atrial { per_minute }), seconds);
        }
        p if p < 0.155 && ordinary => {
            let per_minute = making.between(0.5, 2.0);
            making.push(ectopic(Ectopy::Couplets { per_minute }), seconds);
        }
        p if p < 0.165 && ordinary => making.push(ectopic(Ectopy::Bigeminy), 90.0),
        p if p < 0.175 && ordinary && bpm < 90.0 => {
            let degree = AvBlock::First;
            making.push(Rhythm::AvBlock { bpm, degree }, seconds);
        }
        p if p < 0.22 && kind == Kind::Paroxysms => {
            let seconds = making.between(60.0, 2400.0);
            let bpm = making.between(80.0, 130.0);
            making.push(Rhythm::AtrialFibrillation { bpm }, seconds);
        }
        _ => making.push(usual(kind, bpm, own), seconds),
    }
}

/// When electrodes or the sensor are off.
fn contacts(making: &mut Making, total: f64, happened: &[f64], k: usize) -> Vec<OffSpan> {
    let mut off = Vec::new();
    for contact in [Contact::RA, Contact::LL, Contact::V1, Contact::Ppg] {
        if contact == Contact::Ppg && k.is_multiple_of(2) {
            continue;
        }
        let start = making.between(0.0, total);
        let seconds = making.between(5.0, 300.0);
        if undisturbed(happened, &(start..start + seconds)) && start + seconds < total {
            off.push(OffSpan {
                contact,
                start,
                seconds,
            });
        }
    }
    off
}

/// Which seconds are lost.
fn losses(making: &mut Making, total: f64, happened: &[f64], off: &[OffSpan]) -> Vec<Range<u64>> {
    let mut lost: Vec<Range<f64>> = Vec::new();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few a day"
    )]
    let n = (6.0 * total / 86_400.0).round() as usize;
    for _ in 0..n {
        let start = making.between(60.0, total.max(61.0)).floor();
        let end = start + making.between(1.0, 20.0).floor();
        let near = |span: &OffSpan| {
            start < span.start + span.seconds + UNDISTURBED && end > span.start - UNDISTURBED
        };
        if undisturbed(happened, &(start..end)) && !off.iter().any(near) && end < total {
            lost.push(start..end);
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole seconds of a day"
    )]
    let whole = |span: Range<f64>| span.start as u64..span.end as u64;
    merged(lost, 1.0).into_iter().map(whole).collect()
}

/// Whether nothing happens from shortly before a span to shortly after it; nothing lasts longer than three minutes.
fn undisturbed(happened: &[f64], span: &Range<f64>) -> bool {
    let before = 180.0 + UNDISTURBED;
    let mut near = happened
        .iter()
        .filter(|at| **at > span.start - before && **at < span.end + UNDISTURBED);
    near.next().is_none()
}

/// The alarms on one patient against what happened.
fn score(day: &Day, options: &Options, name: String) -> Result<RecordScore, String> {
    let rate = day.scenario.rate;
    let wearable = Simulated::new(&day.scenario, &day.leads, BootId(0), Utc(0));
    let mut wearable = wearable.map_err(|error| error.to_string())?;
    let models = super::super::ventricular::models(&options.weights, &name)?;
    let layout = wearable.layout().clone();
    let mut watcher = Watcher::new(options, models, &layout)?;
    let mut beats = Vec::new();
    let mut truth = ecg::simulate::Truth::default();
    for second in 0..day.seconds {
        let told = wearable.second_and_truth();
        let (packet, told) = told.map_err(|error| error.to_string())?;
        beats.extend(told.beats.iter().map(|beat| Beat {
            r_peak: beat.r_peak,
            class: Some(beat.class),
        }));
        truth.append(ecg::simulate::Truth {
            beats: Vec::new(),
            lone_p: Vec::new(),
            ..told
        });
        let lost = day.lost.iter().find(|lost| lost.contains(&second));
        match lost {
            Some(lost) if lost.end == second + 1 => {
                let at = |second: u64| SampleIndex(rate.count(second as f64).0);
                let (start, end) = (at(lost.start), at(lost.end));
                watcher.gap(Gap { start, end });
            }
            Some(_) => {}
            None => watcher.block(&packet.to_block()),
        }
    }
    let (raised, seconds) = watcher.end()?;
    let span =
        |start: SampleIndex, end: SampleIndex| start.0 as f64 / rate.hz()..end.0 as f64 / rate.hz();
    let off = |of: &dyn Fn(Contact) -> bool| -> Vec<Range<f64>> {
        let those = truth.contact_off.iter().filter(|off| of(off.contact));
        merged(those.map(|off| span(off.start, off.end)).collect(), 0.0)
    };
    let no_ecg = |contact: Contact| {
        let mut ecg = layout.iter().filter(|s| s.kind.lead().is_some());
        ecg.all(|signal| contact.affects(signal.kind))
    };
    let no_ppg = |contact: Contact| {
        let ppg = |kind: SignalKind| kind.has_pulse() && contact.affects(kind);
        layout.iter().any(|signal| ppg(signal.kind))
    };
    let mut blind = off(&no_ecg);
    blind.extend(day.lost.iter().map(|l| l.start as f64..l.end as f64));
    let of = |is: &dyn Fn(&Rhythm) -> bool| -> Vec<Range<f64>> {
        let those = truth.episodes.iter().filter(|episode| is(&episode.rhythm));
        let spans = those.map(|Episode { start, end, .. }| span(*start, *end));
        merged(spans.collect(), 0.0)
    };
    let facts = Facts {
        rate,
        beats,
        vf: of(&|rhythm| *rhythm == Rhythm::VentricularFibrillation),
        vt: of(&|rhythm| matches!(rhythm, Rhythm::VentricularTachycardia { .. })),
        af: of(&|rhythm| matches!(rhythm, Rhythm::AtrialFibrillation { .. })),
        flutter: Vec::new(),
        blind: merged(blind, 0.0),
    };
    let mut reference = Reference::of(&facts, &options.alarm);
    let long = |span: &Range<f64>, least: f64| span.end - span.start >= least;
    let mut put = |condition, there: Vec<Range<f64>>, also| {
        let spans = Spans {
            there,
            also,
            aside: Vec::new(),
        };
        reference.of.insert(condition, spans);
    };
    let mut away = off(&no_ecg);
    away.extend(off(&no_ppg));
    let long_away = away.iter().filter(|span| long(span, LEAST_OFF_SECONDS));
    put(
        Condition::LeadsOff,
        long_away.cloned().collect(),
        away.clone(),
    );
    let first = |rhythm: &Rhythm| {
        let degree = AvBlock::First;
        matches!(rhythm, Rhythm::AvBlock { degree: d, .. } if *d == degree)
    };
    let blocks = of(&first);
    let lasting = blocks.iter().filter(|span| long(span, 90.0));
    let any_block = of(&|rhythm| matches!(rhythm, Rhythm::AvBlock { .. }));
    put(Condition::AvBlock, lasting.cloned().collect(), any_block);
    put(Condition::StChange, Vec::new(), Vec::new());
    let sinus = |rhythm: &Rhythm| matches!(rhythm, Rhythm::Sinus { .. } | Rhythm::Pause { .. });
    let other = of(&|rhythm| !sinus(rhythm));
    put(Condition::NewFinding, Vec::new(), other);
    Ok(RecordScore::of(name, seconds / 3600.0, &reference, &raised))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_what_it_says_and_is_the_same_again() {
        let days = Days {
            patients: 20,
            hours: 24.0,
            seed: 1,
        };
        let mut n = [0; 3];
        for k in 0..days.patients {
            let day = Day::new(&days, k);
            for (rhythm, _) in &day.scenario.rhythms {
                match rhythm {
                    Rhythm::Asystole => n[0] += 1,
                    Rhythm::VentricularFibrillation => n[1] += 1,
                    Rhythm::VentricularTachycardia { .. } => n[2] += 1,
                    _ => {}
                }
            }
            let planned: f64 = day.scenario.rhythms.iter().map(|(_, s)| s).sum();
            assert!(planned >= day.seconds as f64);
            assert!(day.lost.is_sorted_by(|a, b| a.end < b.start));
            let again = Day::new(&days, k);
            assert!(again.scenario == day.scenario && again.lost == day.lost);
            assert!(ecg::simulate::Simulator::new(&day.scenario).is_ok());
        }
        assert_eq!(n, [80; 3]);
    }
}
