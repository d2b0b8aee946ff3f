use ecg::BeatClass;
use proptest::prelude::*;

use super::*;

fn rate() -> SampleRate {
    SampleRate::new(1000.0).unwrap()
}

/// Beats 500 ms apart, one per letter; `-` is a beat without a class, `|` an interruption, `_` a
/// pause of four seconds. Each with whether an interruption was told before it.
fn beats(letters: &str) -> Vec<(bool, Beat)> {
    let (mut beats, mut at, mut interrupted) = (Vec::new(), 1000, false);
    for letter in letters.chars() {
        match letter {
            '|' => interrupted = true,
            '_' => at += 4000,
            _ => {
                let beat = Beat {
                    r_peak: SampleIndex(at),
                    class: letter.to_string().parse().ok(),
                };
                beats.push((std::mem::take(&mut interrupted), beat));
                at += 500;
            }
        }
    }
    beats
}

/// Everything told, each with how many beats had been pushed before the one that made it told.
fn all_told(beats: &[(bool, Beat)]) -> Vec<(usize, Told)> {
    let (mut patterns, mut told) = (Patterns::new(rate()), Vec::new());
    for (n, (interrupted, beat)) in beats.iter().enumerate() {
        if *interrupted {
            patterns.interrupt(|t| told.push((n, t)));
        }
        patterns.push(beat, |t| told.push((n, t)));
    }
    patterns.interrupt(|t| told.push((beats.len(), t)));
    told
}

/// What is told of the letters, but for singles: `begins` or `ended`, the pattern, its origin, the places
/// of its first and last beat in the letters (interruptions and pauses taken out), and when it was told.
fn said(letters: &str) -> Vec<String> {
    let beats = beats(letters);
    let place = |at: SampleIndex| beats.iter().position(|(_, b)| b.r_peak == at).unwrap();
    all_told(&beats)
        .into_iter()
        .filter_map(|(n, told)| {
            let (word, episode) = match told {
                Told::Begins(episode) => ("begins", episode),
                Told::Ended(episode) => ("ended", episode),
            };
            let single = episode.pattern == Pattern::Single;
            let (pattern, origin) = (episode.pattern.name(), episode.origin.name());
            let (from, to) = (place(episode.onset), place(episode.offset));
            let initial = &origin[..1];
            (!single).then(|| format!("{word} {pattern} {initial} {from}-{to} @{n}"))
        })
        .collect()
}

fn check(letters: &str, expected: &[&str]) {
    assert_eq!(said(letters), expected, "{letters}");
}

#[test]
fn couplets_and_runs() {
    check("NNVNN", &[]);
    check("NVVN", &["ended couplet v 1-2 @3"]);
    check("NVVVN", &["begins run v 1-3 @3", "ended run v 1-3 @4"]);
    check("SSSSN", &["begins run s 0-2 @2", "ended run s 0-3 @4"]);
    check("VFVN", &["begins run v 0-2 @2", "ended run v 0-2 @3"]); // F is of the run
    check(
        "VVSSN",
        &["ended couplet v 0-1 @2", "ended couplet s 2-3 @4"],
    );
    check("VVQV", &["ended couplet v 0-1 @2"]); // Q is nothing
    check(
        "VV-VV",
        &["ended couplet v 0-1 @2", "ended couplet v 3-4 @5"],
    );
}

#[test]
fn bigeminy_and_trigeminy() {
    check("VNVN", &[]);
    check(
        "NVNVNVNN",
        &["begins bigeminy v 1-5 @6", "ended bigeminy v 1-5 @7"],
    );
    check(
        "VNNVNNVNNN",
        &["begins trigeminy v 0-6 @7", "ended trigeminy v 0-6 @9"],
    );
    check(
        "SNSNSNSNN",
        &["begins bigeminy s 0-4 @5", "ended bigeminy s 0-6 @8"],
    );
    check("VNSNVNSN", &[]); // of two origins
    check("VNVNVVN", &["ended couplet v 4-5 @6"]); // the third is no single
    check(
        "VNVNVNVVN",
        &[
            "begins bigeminy v 0-4 @5",
            "ended bigeminy v 0-4 @7",
            "ended couplet v 6-7 @8",
        ],
    );
    check(
        "VNVNVNSN",
        &["begins bigeminy v 0-4 @5", "ended bigeminy v 0-4 @6"],
    );
    // One ends and the other begins with the same beat.
    check(
        "VNVNVNNVNNVNNN",
        &[
            "begins bigeminy v 0-4 @5",
            "ended bigeminy v 0-4 @6",
            "begins trigeminy v 4-10 @11",
            "ended trigeminy v 4-10 @13",
        ],
    );
    check(
        "VNNVNNVNVNVNN",
        &[
            "begins trigeminy v 0-6 @7",
            "ended trigeminy v 0-6 @8",
            "begins bigeminy v 6-10 @11",
            "ended bigeminy v 6-10 @12",
        ],
    );
    check("VNVNQNVNV", &[]);
}

#[test]
fn gaps_and_pauses_end_everything() {
    check("VV|VN", &["ended couplet v 0-1 @2"]);
    check("VV_VN", &["ended couplet v 0-1 @2"]);
    check("VNVN|VNVN", &[]);
    check(
        "VNVNV",
        &["begins bigeminy v 0-4 @5", "ended bigeminy v 0-4 @5"],
    );
    check("VVV", &["begins run v 0-2 @2", "ended run v 0-2 @3"]);
    // A beat that is not later than the last one is as good as an interruption.
    let (mut patterns, mut told) = (Patterns::new(rate()), Vec::new());
    for (_, beat) in [&beats("VV")[..], &beats("VV")[..]].concat() {
        patterns.push(&beat, |t| told.push(t));
    }
    patterns.interrupt(|t| told.push(t));
    assert!(told.iter().all(|told| matches!(
        told,
        Told::Ended(episode) if episode.pattern == Pattern::Couplet
    )));
    assert_eq!(told.len(), 2);
}

#[test]
fn rates_and_rhythms() {
    let run = |class: BeatClass, interval: u64| {
        let (mut patterns, mut ended) = (Patterns::new(rate()), Vec::new());
        for n in 0..4 {
            let beat = Beat {
                r_peak: SampleIndex(5000 + n * interval),
                class: Some(class),
            };
            patterns.push(&beat, |_| {});
        }
        patterns.interrupt(|told| ended.push(told));
        let [Told::Ended(episode)] = ended[..] else {
            panic!("{ended:?}")
        };
        assert_eq!((episode.n_beats, episode.n_ectopic), (4, 4));
        (episode.bpm.unwrap(), episode.rhythm().map(Rhythm::code))
    };
    assert_eq!(run(BeatClass::V, 500), (120.0, Some("VT")));
    assert_eq!(run(BeatClass::V, 600), (100.0, Some("IVR")));
    assert_eq!(run(BeatClass::S, 400), (150.0, Some("SVTA")));
    assert_eq!(run(BeatClass::S, 600), (100.0, None));

    let told = all_told(&beats("NVNNVNNVNNVN"));
    let Some((_, Told::Ended(episode))) = told.last() else {
        panic!("{told:?}")
    };
    assert_eq!((episode.n_beats, episode.n_ectopic), (10, 4));
    assert_eq!(episode.bpm, Some(120.0));
    assert_eq!(episode.rhythm(), Some(Rhythm::VentricularTrigeminy));
    let single = all_told(&beats("V"))[0].1;
    assert!(matches!(single, Told::Ended(episode) if episode.bpm.is_none()));
}

#[test]
fn the_burden_counts_each_ectopic_beat_once() {
    let beats = beats("NVNVNVNNVVNVVVVNNSNNSSSNQN");
    let mut burden = Burden::default();
    for (_, beat) in &beats {
        burden.push(beat);
    }
    for (_, told) in all_told(&beats) {
        burden.told(&told);
    }
    let v = burden.ventricular;
    assert_eq!((burden.n_beats, v.n_beats, v.n_singles), (26, 9, 3));
    assert_eq!((v.n_couplets, v.n_runs, v.n_bigeminy), (1, 1, 1));
    assert_eq!(v.longest_run.unwrap().n_beats, 4);
    assert_eq!(burden.percent(Origin::Ventricular), Some(900.0 / 26.0));
    let s = burden.supraventricular;
    assert_eq!((s.n_beats, s.n_singles, s.n_runs), (4, 1, 1));
    assert_eq!(s.fastest_run.unwrap().bpm, Some(120.0));
    assert_eq!(Burden::default().percent(Origin::Ventricular), None);
}

/// The definitions again, over the whole series at once and as plain as can be.
fn by_definition(beats: &[(bool, Beat)]) -> Vec<(usize, Told)> {
    let mut told = Vec::new();
    let known = |k: usize| beats[k].1.class.is_some_and(|class| class != BeatClass::Q);
    let mut from = 0;
    while from < beats.len() {
        if !known(from) {
            from += 1;
            continue;
        }
        let follows = |k: &usize| {
            let apart = beats[*k].1.r_peak.since(beats[*k - 1].1.r_peak);
            !beats[*k].0 && known(*k) && apart <= rate().count(PAUSE_SECONDS)
        };
        let to = (from + 1..beats.len())
            .find(|k| !follows(k))
            .unwrap_or(beats.len());
        segment(beats, from, to, &mut told);
        from = to;
    }
    told
}

/// The patterns of beats `from` to before `to`, between which nothing is missing.
fn segment(beats: &[(bool, Beat)], from: usize, to: usize, told: &mut Vec<(usize, Told)>) {
    let origin = |k: usize| Origin::of(&beats[k].1);
    let episode = |pattern, first: usize, last: usize, n_ectopic: usize| {
        let seconds = rate().seconds(beats[last].1.r_peak.since(beats[first].1.r_peak));
        Episode {
            pattern,
            origin: origin(first).unwrap(),
            onset: beats[first].1.r_peak,
            offset: beats[last].1.r_peak,
            n_beats: (last - first + 1) as u64,
            n_ectopic: n_ectopic as u64,
            bpm: (last > first).then(|| 60.0 * (last - first) as f64 / seconds),
        }
    };
    let same = |a: usize, b: usize| b >= from && b < to && origin(a) == origin(b);
    let single = |k: usize| {
        let before = |k: usize| k > from && same(k, k - 1);
        k < to && origin(k).is_some() && !before(k) && !same(k, k + 1)
    };
    for first in (from..to).filter(|k| origin(*k).is_some()) {
        if first == from || !same(first, first - 1) {
            let n = (first..to).take_while(|k| same(first, *k)).count();
            let pattern = [Pattern::Single, Pattern::Couplet, Pattern::Run][n.min(3) - 1];
            if n >= 3 {
                told.push((
                    first + 2,
                    Told::Begins(episode(Pattern::Run, first, first + 2, 3)),
                ));
            }
            let last = first + n - 1;
            told.push((last + 1, Told::Ended(episode(pattern, first, last, n))));
        }
        for (pattern, step) in [(Pattern::Bigeminy, 2), (Pattern::Trigeminy, 3)] {
            let linked = |a: usize| {
                let normal = |k: usize| origin(k).is_none();
                let b = a + step;
                single(a) && single(b) && same(a, b) && (a + 1..b).all(normal)
            };
            if first >= from + step && linked(first - step) {
                continue;
            }
            let mut last = first;
            while linked(last) {
                last += step;
            }
            let n = (last - first) / step + 1;
            if n < 3 {
                continue;
            }
            let third = first + 2 * step;
            told.push((third + 1, Told::Begins(episode(pattern, first, third, 3))));
            // Where the next single should have been, or the first ectopic beat before it.
            let next = (last + 1..to)
                .take(step)
                .find(|k| origin(*k).is_some())
                .unwrap_or((last + step).min(to));
            let doubled = next == last + step && next < to && same(last, next);
            let when = next + usize::from(doubled);
            told.push((when, Told::Ended(episode(pattern, first, last, n))));
        }
    }
}

/// In an order that both ways of finding out agree on.
fn sorted(mut told: Vec<(usize, Told)>) -> Vec<(usize, Told)> {
    told.sort_by_key(|(n, told)| match told {
        Told::Ended(e) => (*n, 0, e.offset, e.pattern.name()),
        Told::Begins(e) => (*n, 1, e.offset, e.pattern.name()),
    });
    told
}

/// Letters of which patterns are made often enough.
fn letters() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("N"),
        Just("V"),
        Just("VN"),
        Just("VNN"),
        Just("VNVNVN"),
        Just("VNNVNNVNN"),
        Just("SN"),
        Just("S"),
        Just("SNN"),
        Just("F"),
        Just("VVV"),
        Just("Q"),
        Just("-"),
        Just("|"),
        Just("_"),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn patterns_are_those_of_the_definitions(letters in letters()) {
        let beats = beats(&letters);
        prop_assert_eq!(sorted(all_told(&beats)), sorted(by_definition(&beats)));
    }

    #[test]
    fn each_ectopic_beat_is_in_one_group_and_ends_come_in_order(letters in letters()) {
        let beats = beats(&letters);
        let told = all_told(&beats);
        let ended = |told: &&(usize, Told)| matches!(told.1, Told::Ended(_));
        let episodes: Vec<Episode> = told.iter().filter(ended).map(|(_, told)| match told {
            Told::Begins(episode) | Told::Ended(episode) => *episode,
        }).collect();
        prop_assert!(episodes.is_sorted_by_key(|episode| episode.offset));
        let group = |e: &&Episode| !matches!(e.pattern, Pattern::Bigeminy | Pattern::Trigeminy);
        let in_groups: u64 = episodes.iter().filter(group).map(|e| e.n_ectopic).sum();
        let ectopic = beats.iter().filter(|(_, beat)| Origin::of(beat).is_some()).count();
        prop_assert_eq!(in_groups, ectopic as u64);
    }

    /// Wherever the series is interrupted, the parts say together what each says by itself.
    #[test]
    fn nothing_reaches_across_an_interruption(letters in letters(), cut in 0usize..60) {
        let beats = beats(&letters);
        let cut = cut.min(beats.len());
        let (before, after) = beats.split_at(cut);
        let mut apart = all_told(before);
        apart.extend(all_told(after).into_iter().map(|(n, told)| (n + cut, told)));
        let mut interrupted = beats.clone();
        if let Some(first) = interrupted.get_mut(cut) {
            first.0 = true;
        }
        prop_assert_eq!(all_told(&interrupted), apart);
    }
}
