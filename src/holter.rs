//! What a long recording comes to, as a Holter report tells it: rhythms and episodes of ectopic beats, how
//! many there are, and heart rate variability.
//!
//! Works on the beats of a whole record with their classes; the offline commands use it. Stretches without any
//! electrode ([`Blind`]) are gaps: no pattern and no NN interval reaches across one.

mod files;

use dsp::ectopy::{Burden, Episode, Pattern, Patterns, Told};
use dsp::hrv::{self, Measures, Whole};
use ecg::{Beat, Gap, Quality, QualityReason, SampleIndex, SampleRate, SignalKind};

use crate::record::annotation::{Annotation, AnnotationCode};

/// The rhythm between episodes: none of those that are made of ectopic beats. Whether it is a sinus
/// rhythm is not looked at.
const OTHERWISE: &str = "N";

/// The report of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct Holter {
    /// What positions are counted in.
    pub rate: SampleRate,
    /// Beats of class N, S, V, F, Q; those without a class are in none.
    pub classes: [u64; 5],
    /// Couplets, runs, bigeminy and trigeminy, in the order of their first beats.
    pub episodes: Vec<Episode>,
    /// The ectopic beats of the record.
    pub burden: Burden,
    /// Those of each hour that has a beat, with its number from 0; an episode is in the hour it begins in.
    pub hours: Vec<(u64, Burden)>,
    /// Heart rate variability in stretches of five minutes, each with its start.
    pub stretches: Vec<(SampleIndex, Measures)>,
    /// That of the whole record; `None` with too few NN intervals.
    pub whole: Option<Whole>,
}

impl Holter {
    /// The report on `beats`, in order, with `gaps` between them, in order, at `rate`.
    pub fn of(beats: &[Beat], gaps: &[Gap], rate: SampleRate) -> Self {
        let (mut classes, mut burden) = ([0; 5], Burden::default());
        let mut hours: Vec<(u64, Burden)> = Vec::new();
        let hour = |at: SampleIndex| at.0 / rate.count(3600.0).0.max(1);
        for beat in beats {
            if let Some(class) = beat.class {
                classes[class.index()] += 1;
            }
            burden.push(beat);
            let number = hour(beat.r_peak);
            if hours.last().is_none_or(|(last, _)| *last != number) {
                hours.push((number, Burden::default()));
            }
            if let Some((_, of_hour)) = hours.last_mut() {
                of_hour.push(beat);
            }
        }
        let mut episodes = ended(beats, gaps, rate);
        for episode in &episodes {
            burden.told(&Told::Ended(*episode));
            let number = hour(episode.onset);
            if let Ok(at) = hours.binary_search_by_key(&number, |(hour, _)| *hour) {
                hours[at].1.told(&Told::Ended(*episode));
            }
        }
        episodes.retain(|episode| episode.pattern != Pattern::Single);
        episodes.sort_by_key(|episode| episode.onset);
        let stretches = hrv::stretches(beats, gaps, rate);
        Self {
            rate,
            classes,
            episodes,
            burden,
            hours,
            whole: hrv::whole(beats, gaps, rate, &stretches),
            stretches,
        }
    }
}

/// Every episode of `beats`, in the order of their last beats.
fn ended(beats: &[Beat], gaps: &[Gap], rate: SampleRate) -> Vec<Episode> {
    let (mut patterns, mut episodes) = (Patterns::new(rate), Vec::new());
    let mut note = |told| {
        if let Told::Ended(episode) = told {
            episodes.push(episode);
        }
    };
    let mut last = None;
    for beat in beats {
        let after = last.map_or(0, |last| gaps.partition_point(|gap| gap.end <= last));
        if gaps.get(after).is_some_and(|gap| gap.start < beat.r_peak) {
            patterns.interrupt(&mut note);
        }
        patterns.push(beat, &mut note);
        last = Some(beat.r_peak);
    }
    patterns.interrupt(&mut note);
    episodes
}

/// The changes of rhythm in `beats` as WFDB rhythm annotations: at the first beat that one begins with, and at the first
/// beat after it, where `(N` stands for everything that no episode has a word for.
///
/// A mark is put one sample before its beat, for WFDB wants annotations of one signal to be at different samples.
pub fn rhythms(beats: &[Beat], gaps: &[Gap], rate: SampleRate) -> Vec<Annotation> {
    let mut episodes: Vec<(Episode, &str)> = ended(beats, gaps, rate)
        .into_iter()
        .filter_map(|episode| Some((episode, episode.rhythm()?.code())))
        .collect();
    episodes.sort_by_key(|(episode, _)| episode.onset);
    let mut episodes = episodes.into_iter().peekable();
    let mut marks = Vec::new();
    let (mut until, mut current) = (None, None);
    for beat in beats {
        let mut wanted = current.filter(|_| until.is_some_and(|until| beat.r_peak <= until));
        while let Some((episode, code)) = episodes.next_if(|(e, _)| e.onset <= beat.r_peak) {
            (until, wanted) = (Some(episode.offset), Some(code));
        }
        let wanted = wanted.unwrap_or(OTHERWISE);
        if current != Some(wanted) {
            current = Some(wanted);
            marks.push(Annotation {
                aux: format!("({wanted}"),
                ..Annotation::new(
                    SampleIndex(beat.r_peak.0.saturating_sub(1)),
                    AnnotationCode::RHYTHM,
                )
            });
        }
    }
    marks
}

/// Finds the stretches in which no ECG electrode is on.
#[derive(Debug, Default)]
pub struct Blind {
    /// The second being judged, and whether no lead of it is connected.
    second: Option<(Gap, bool)>,
    gaps: Vec<Gap>,
}

impl Blind {
    /// Takes note of one second of one signal; seconds come in order.
    pub fn note(&mut self, quality: &Quality) {
        if !matches!(quality.signal, SignalKind::Ecg(_)) {
            return;
        }
        let off = quality.reason == QualityReason::LeadOff;
        match &mut self.second {
            Some((gap, all_off)) if gap.start == quality.start => *all_off &= off,
            _ => {
                self.close();
                let gap = Gap {
                    start: quality.start,
                    end: quality.end,
                };
                self.second = Some((gap, off));
            }
        }
    }

    /// The stretches, in order.
    pub fn finish(mut self) -> Vec<Gap> {
        self.close();
        self.gaps
    }

    fn close(&mut self) {
        let Some((gap, true)) = self.second.take() else {
            return;
        };
        match self.gaps.last_mut() {
            Some(last) if last.end >= gap.start => last.end = gap.end,
            _ => self.gaps.push(gap),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::Lead;

    fn rate() -> SampleRate {
        SampleRate::new(1000.0).unwrap()
    }

    /// Beats half a second apart, one per letter.
    pub(super) fn beats(letters: &str) -> Vec<Beat> {
        let beat = |(n, letter): (u64, char)| Beat {
            r_peak: SampleIndex(1000 + 500 * n),
            class: letter.to_string().parse().ok(),
        };
        (0..).zip(letters.chars()).map(beat).collect()
    }

    /// The marks of the letters, each with the number of its beat.
    fn marks(letters: &str, gaps: &[Gap]) -> Vec<(u64, String)> {
        rhythms(&beats(letters), gaps, rate())
            .into_iter()
            .map(|mark| {
                assert_eq!(mark.code, AnnotationCode::RHYTHM);
                assert_eq!((mark.at.0 + 1) % 500, 0);
                ((mark.at.0 + 1 - 1000) / 500, mark.aux)
            })
            .collect()
    }

    fn check(letters: &str, expected: &[(u64, &str)]) {
        let expected: Vec<_> = expected.iter().map(|&(n, aux)| (n, aux.into())).collect();
        assert_eq!(marks(letters, &[]), expected, "{letters}");
    }

    #[test]
    fn rhythms_are_marked_at_their_first_beats() {
        check("", &[]);
        check("NNVNVVN", &[(0, "(N")]);
        check("NVVVNN", &[(0, "(N"), (1, "(VT"), (4, "(N")]);
        check("SSSN", &[(0, "(SVTA"), (3, "(N")]);
        check("NVNVNVNN", &[(0, "(N"), (1, "(B"), (6, "(N")]);
        check("VVVSSSV", &[(0, "(VT"), (3, "(SVTA"), (6, "(N")]);
        // The last beat of the one is the first of the other.
        check("VNVNVNNVNNV", &[(0, "(B"), (4, "(T")]);
        // Two of a kind in a row, without a beat between: one stretch of rhythm.
        check("VVVQVVVN", &[(0, "(VT"), (3, "(N"), (4, "(VT"), (7, "(N")]);
    }

    #[test]
    fn no_rhythm_reaches_across_a_gap() {
        let gap = Gap {
            start: SampleIndex(2100),
            end: SampleIndex(2400),
        };
        assert_eq!(marks("NVVVNN", &[gap]), [(0, "(N".to_owned())]);
        // A gap before the first beat, or over a beat.
        let long = Gap {
            start: SampleIndex(0),
            end: SampleIndex(1600),
        };
        assert_eq!(
            marks("NVVVVN", &[long]),
            [(0, "(N"), (2, "(VT"), (5, "(N")].map(|(n, aux)| (n, aux.to_owned()))
        );
    }

    #[test]
    fn hours_add_up_to_the_record() {
        // Two hours and a bit; a couplet across the first border.
        let mut list = beats(&"N".repeat(16_000));
        for k in [10, 7197, 7198, 9000, 9001, 9002] {
            list[k].class = Some(ecg::BeatClass::V);
        }
        let report = Holter::of(&list, &[], rate());
        assert_eq!(report.classes, [15_994, 0, 6, 0, 0]);
        let of = |burden: &Burden| {
            let v = burden.ventricular;
            (
                burden.n_beats,
                v.n_beats,
                v.n_singles,
                v.n_couplets,
                v.n_runs,
            )
        };
        assert_eq!(of(&report.burden), (16_000, 6, 1, 1, 1));
        let hours: Vec<_> = report.hours.iter().map(|(n, b)| (*n, of(b))).collect();
        assert_eq!(
            hours,
            [
                (0, (7198, 2, 1, 1, 0)),
                (1, (7200, 4, 0, 0, 1)),
                (2, (1602, 0, 0, 0, 0))
            ]
        );
        assert_eq!(report.episodes.len(), 2);
        assert_eq!(report.stretches.len(), 27);
        assert_eq!(report.whole.unwrap().n_nn, 15_999 - 2 - 3 - 4);
    }

    #[test]
    fn only_seconds_without_any_lead_are_blind() {
        let mut blind = Blind::default();
        for second in 0..10 {
            for (k, lead) in [Lead::II, Lead::V1].into_iter().enumerate() {
                let off = (2..5).contains(&second) || (k == 0 && second > 7) || second == 6;
                let reason = if off {
                    QualityReason::LeadOff
                } else {
                    QualityReason::Noisy
                };
                blind.note(&Quality {
                    signal: SignalKind::Ecg(lead),
                    start: SampleIndex(second * 1000),
                    end: SampleIndex(second * 1000 + 1000),
                    score: 0.0,
                    reason,
                });
            }
        }
        let gap = |start, end| Gap {
            start: SampleIndex(start),
            end: SampleIndex(end),
        };
        assert_eq!(blind.finish(), [gap(2000, 5000), gap(6000, 7000)]);
    }
}
