//! Beats that come from elsewhere, by their classes: singles, couplets, runs and bigeminy.
//!
//! A class is a model's word; the evidence is where those beats are, how wide they are and, of supraventricular ones, by
//! how much they come early.

use ecg::{BeatClass, Label, Limit, Value};

use super::conduction::Qrs;
use super::view::{EARLY_SHARE, MAX_APART_MS, Seen, View};
use super::{Draft, above, below, labels, peaks, plain};

/// From so many beats in a row on it is a run.
const RUN_BEATS: usize = 3;
/// A run faster than this is a tachycardia.
const TACHYCARDIA_BPM: f32 = 100.0;
/// So many singles in turn with normal beats are bigeminy.
const CYCLE_SINGLES: usize = 3;

/// The longest QRS of a healthy adult, ms: a single or a pair that is no wider does not come from a ventricle. A run may,
/// whatever was measured: without a baseline the ends of its QRS are hard to find.
const NARROW_MS: f32 = 110.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Ventricular,
    Supraventricular,
}

/// Beats of one origin in a row: the index of the first, and how many.
#[derive(Debug, Clone, Copy)]
struct Group {
    first: usize,
    n: usize,
}

/// What is said of one origin.
struct Words {
    origin: Origin,
    fast_run: Label,
    slow_run: Option<Label>,
    couplet: Option<Label>,
    bigeminy: Label,
    single: Label,
}

const VENTRICULAR: Words = Words {
    origin: Origin::Ventricular,
    fast_run: labels::VENTRICULAR_TACHYCARDIA,
    slow_run: Some(labels::IDIOVENTRICULAR_RHYTHM),
    couplet: Some(labels::VENTRICULAR_COUPLET),
    bigeminy: labels::VENTRICULAR_BIGEMINY,
    single: labels::VENTRICULAR_PREMATURE_BEATS,
};

const SUPRAVENTRICULAR: Words = Words {
    origin: Origin::Supraventricular,
    fast_run: labels::SUPRAVENTRICULAR_TACHYCARDIA,
    slow_run: None,
    couplet: None,
    bigeminy: labels::SUPRAVENTRICULAR_BIGEMINY,
    single: labels::SUPRAVENTRICULAR_PREMATURE_BEATS,
};

/// Every statement on ectopic beats.
pub(super) fn drafts(view: &View<'_>) -> Vec<Draft> {
    let mut drafts = of_origin(view, &VENTRICULAR);
    drafts.extend(of_origin(view, &SUPRAVENTRICULAR));
    drafts
}

fn of_origin(view: &View<'_>, words: &Words) -> Vec<Draft> {
    let groups = groups(view, words.origin);
    let fast = |group: &Group| rate_bpm(view, *group).is_some_and(|bpm| bpm > TACHYCARDIA_BPM);
    let run = |group: &Group| group.n >= RUN_BEATS;
    let (fast_runs, rest): (Vec<_>, Vec<_>) =
        groups.iter().partition(|group| run(group) && fast(group));
    let (slow_runs, rest): (Vec<_>, Vec<_>) = rest
        .into_iter()
        .partition(|group| words.slow_run.is_some() && run(group));
    let (couplets, rest): (Vec<_>, Vec<_>) = rest
        .into_iter()
        .partition(|group| words.couplet.is_some() && group.n == 2);
    let (turns, singles) = bigeminy(view, &rest);
    let mut drafts = Vec::new();
    let mut say = |label: &Label, groups: &[Group], what: &str, limit: Option<Limit>| {
        if !groups.is_empty() {
            drafts.push(draft(view, label, groups, what, limit));
        }
    };
    let fast_limit = Some(Limit::Above(TACHYCARDIA_BPM));
    say(&words.fast_run, &fast_runs, "in runs", fast_limit);
    if let Some(label) = &words.slow_run {
        say(label, &slow_runs, "in runs that may be paced", None);
    }
    if let Some(label) = &words.couplet {
        say(label, &couplets, "in couplets", None);
    }
    say(&words.bigeminy, &turns, "in turn with normal ones", None);
    say(&words.single, &singles, "not in a pattern", None);
    if words.origin == Origin::Supraventricular {
        for draft in &mut drafts {
            draft.values.extend(early(view, &draft.beats));
        }
    }
    drafts
}

/// One statement on some groups.
fn draft(
    view: &View<'_>,
    label: &Label,
    groups: &[Group],
    what: &str,
    limit: Option<Limit>,
) -> Draft {
    let beats: Vec<Seen<'_>> = groups
        .iter()
        .flat_map(|group| {
            view.beats[group.first..group.first + group.n]
                .iter()
                .copied()
        })
        .collect();
    let n = beats.len();
    let longest = groups.iter().map(|group| group.n).max().unwrap_or(0);
    let mut values = vec![above("n_beats", n as f32, "", 0.0)];
    let mut words = vec![format!("{n} of {} beats, {what}", view.beats.len())];
    if longest > 1 {
        values.push(plain("longest_run_beats", longest as f32, ""));
        words.push(format!("at most {longest} in a row"));
        // Every run is beyond the limit, so the slowest shows it.
        let rates = || groups.iter().filter_map(|group| rate_bpm(view, *group));
        if let (Some(slowest), Some(fastest)) = (rates().reduce(f32::min), rates().reduce(f32::max))
        {
            let slowest = Value {
                limit,
                ..plain("slowest_run_bpm", slowest, "/min")
            };
            values.extend([slowest, plain("fastest_run_bpm", fastest, "/min")]);
            words.push(format!("up to {fastest:.0}/min"));
        }
    }
    if let Some(qrs_ms) = Qrs::over(&beats) {
        values.push(plain("qrs_ms", qrs_ms, "ms"));
        words.push(format!("QRS {qrs_ms:.0} ms"));
    }
    Draft {
        label: label.clone(),
        text: words.join(", "),
        values,
        beats: peaks(&beats),
        leads: view.context.leads.clone(),
    }
}

/// How early the first beats of groups come, against the limit.
fn early(view: &View<'_>, beats: &[ecg::SampleIndex]) -> Vec<Value> {
    let pairs = view.beats.windows(2);
    let firsts = pairs.filter(|pair| beats.contains(&pair[1].at) && !beats.contains(&pair[0].at));
    let latest = firsts.filter_map(|pair| pair[1].rr_ms).reduce(f32::max);
    let Some((latest, usual)) = latest.zip(view.usual_ms) else {
        return Vec::new();
    };
    vec![
        below("coupling_share", latest / usual, "", EARLY_SHARE),
        plain("usual_rr_ms", usual, "ms"),
    ]
}

/// The beats of an origin, in rows.
fn groups(view: &View<'_>, origin: Origin) -> Vec<Group> {
    let beats = &view.beats;
    let mut groups: Vec<Group> = Vec::new();
    for (k, beat) in beats.iter().enumerate() {
        let of_origin = match beat.class {
            Some(BeatClass::V | BeatClass::F) => origin == Origin::Ventricular,
            Some(BeatClass::S) => origin == Origin::Supraventricular,
            _ => false,
        };
        if !of_origin {
            continue;
        }
        match groups.last_mut() {
            Some(group) if group.first + group.n == k && follows(beat) => group.n += 1,
            _ => groups.push(Group { first: k, n: 1 }),
        }
    }
    groups.retain(|group| {
        let beats = &beats[group.first..group.first + group.n];
        let narrow = Qrs::over(beats).is_some_and(|qrs_ms| qrs_ms <= NARROW_MS);
        origin == Origin::Supraventricular || group.n >= RUN_BEATS || !narrow
    });
    groups
}

fn follows(beat: &Seen<'_>) -> bool {
    beat.rr_ms.is_some_and(|rr| rr <= MAX_APART_MS)
}

/// The mean rate from the first to the last beat; `None` of a single one.
fn rate_bpm(view: &View<'_>, group: Group) -> Option<f32> {
    let beats = &view.beats[group.first + 1..group.first + group.n];
    let sum: f32 = beats.iter().filter_map(|beat| beat.rr_ms).sum();
    (sum > 0.0).then(|| 60_000.0 * beats.len() as f32 / sum)
}

/// Singles in turn with one normal beat, and all other groups.
fn bigeminy(view: &View<'_>, groups: &[Group]) -> (Vec<Group>, Vec<Group>) {
    let in_turn = |a: &Group, b: &Group| {
        let between = view.beats.get(a.first + 1);
        a.n == 1
            && b.n == 1
            && b.first == a.first + 2
            && between.is_some_and(|beat| beat.class == Some(BeatClass::N) && follows(beat))
            && follows(&view.beats[b.first])
    };
    let (mut turns, mut others) = (Vec::new(), Vec::new());
    for cycle in groups.chunk_by(in_turn) {
        if cycle.len() >= CYCLE_SINGLES {
            turns.extend_from_slice(cycle);
        } else {
            others.extend_from_slice(cycle);
        }
    }
    (turns, others)
}
