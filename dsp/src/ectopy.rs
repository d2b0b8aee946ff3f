//! Patterns of ectopic beats: singles, couplets, runs, bigeminy and trigeminy.
//!
//! Takes classed beats in order; yields [`Told`]. **No pattern reaches across a gap**
//! ([`Patterns::interrupt`]), across more than [`PAUSE_SECONDS`] without a beat, or across a beat that is
//! Q or has no class. State is a few words, however long a pattern lasts. Beats of class V and F are ventricular, those
//! of class S supraventricular ectopic beats; a fusion counts with the runs of V as in EC57.
//!
//! Consecutive ectopic beats of one [`Origin`] are a *group*, and **every ectopic beat is in exactly
//! one**: a [single](Pattern::Single), a [couplet](Pattern::Couplet) of two or a [run](Pattern::Run) of three and more.
//! Singles of one origin with exactly one normal beat between neighbours are bigeminy, with exactly two trigeminy,
//! once there are [`CYCLE_BEATS`] of them; they are told of as singles all the same. A single may end one
//! and begin the other.
//!
//! A pattern begins with its first and ends with its last *ectopic* beat. What is told when:
//!
//! | | begins | ended |
//! |---|---|---|
//! | single, couplet | not told | at the first beat that is not of the group |
//! | run | at its third beat | at the first beat that is not of it |
//! | bigeminy, trigeminy | at the beat after its third single | at the beat that fits no more: a normal beat too many or too few, a second ectopic beat, one of the other origin |
//!
//! or at an interruption, whichever comes first. [`Told::Ended`] comes in the order of the last beats.
//!
//! References: EC57 (couplets, runs); AHA/ACC/HRS guideline on ventricular arrhythmias, Circulation 138, 2018
//! (tachycardia: three beats and more, over 100 per minute); WFDB Applications Guide, annot(5) (names of rhythms). The
//! shortest bigeminy and trigeminy that the MIT-BIH Arrhythmia Database marks have three ectopic beats,
//! and begin and end with one.

mod burden;

use ecg::{Beat, BeatClass, SampleCount, SampleIndex, SampleRate};

pub use burden::{Burden, Counts};

/// Beats farther apart do not follow each other: nothing is known of what was between.
pub const PAUSE_SECONDS: f64 = 3.0;

/// From so many beats of a group on it is a run.
pub const RUN_BEATS: u64 = 3;

/// So many singles at an equal distance in beats are bigeminy or trigeminy.
pub const CYCLE_BEATS: u64 = 3;

/// A run faster than this, beats per minute, is a tachycardia.
pub const TACHYCARDIA_BPM: f64 = 100.0;

/// Where ectopic beats come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The ventricles: V and F.
    Ventricular,
    /// Above them: S.
    Supraventricular,
}

impl Origin {
    /// The origin of an ectopic beat, `None` for any other.
    pub fn of(beat: &Beat) -> Option<Self> {
        match beat.class? {
            BeatClass::V | BeatClass::F => Some(Self::Ventricular),
            BeatClass::S => Some(Self::Supraventricular),
            BeatClass::N | BeatClass::Q => None,
        }
    }

    /// The word for it in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ventricular => "ventricular",
            Self::Supraventricular => "supraventricular",
        }
    }
}

/// How ectopic beats come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// One, with none of its origin before and after.
    Single,
    /// Two in a row.
    Couplet,
    /// Three and more in a row.
    Run,
    /// Singles in turn with one normal beat.
    Bigeminy,
    /// Singles in turn with two normal beats.
    Trigeminy,
}

impl Pattern {
    /// The word for it in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Couplet => "couplet",
            Self::Run => "run",
            Self::Bigeminy => "bigeminy",
            Self::Trigeminy => "trigeminy",
        }
    }
}

/// One occurrence of a pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Episode {
    /// How the beats come.
    pub pattern: Pattern,
    /// Where the ectopic ones come from.
    pub origin: Origin,
    /// The R peak of its first beat, an ectopic one.
    pub onset: SampleIndex,
    /// The R peak of its last beat, an ectopic one.
    pub offset: SampleIndex,
    /// Its beats, the normal ones between included.
    pub n_beats: u64,
    /// Its ectopic beats.
    pub n_ectopic: u64,
    /// The mean rate from its first to its last beat, per minute; `None` for a single beat.
    pub bpm: Option<f64>,
}

impl Episode {
    /// The rhythm that it is; `None` where there is no word for it.
    pub fn rhythm(&self) -> Option<Rhythm> {
        let fast = self.bpm.is_some_and(|bpm| bpm > TACHYCARDIA_BPM);
        match (self.pattern, self.origin) {
            (Pattern::Run, Origin::Ventricular) if fast => Some(Rhythm::VentricularTachycardia),
            (Pattern::Run, Origin::Ventricular) => Some(Rhythm::Idioventricular),
            (Pattern::Run, Origin::Supraventricular) if fast => {
                Some(Rhythm::SupraventricularTachyarrhythmia)
            }
            (Pattern::Bigeminy, Origin::Ventricular) => Some(Rhythm::VentricularBigeminy),
            (Pattern::Bigeminy, Origin::Supraventricular) => Some(Rhythm::AtrialBigeminy),
            (Pattern::Trigeminy, Origin::Ventricular) => Some(Rhythm::VentricularTrigeminy),
            _ => None,
        }
    }
}

/// A rhythm made of ectopic beats, of those that WFDB has a code for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rhythm {
    /// A ventricular run over 100 per minute.
    VentricularTachycardia,
    /// A ventricular run that is no faster.
    Idioventricular,
    /// A supraventricular run over 100 per minute.
    SupraventricularTachyarrhythmia,
    /// Bigeminy of ventricular beats.
    VentricularBigeminy,
    /// Bigeminy of supraventricular beats.
    AtrialBigeminy,
    /// Trigeminy of ventricular beats.
    VentricularTrigeminy,
}

impl Rhythm {
    /// Every rhythm.
    pub const ALL: [Rhythm; 6] = [
        Self::VentricularTachycardia,
        Self::Idioventricular,
        Self::SupraventricularTachyarrhythmia,
        Self::VentricularBigeminy,
        Self::AtrialBigeminy,
        Self::VentricularTrigeminy,
    ];

    /// Its code in WFDB rhythm annotations, without the parenthesis that begins it there.
    pub fn code(self) -> &'static str {
        match self {
            Self::VentricularTachycardia => "VT",
            Self::Idioventricular => "IVR",
            Self::SupraventricularTachyarrhythmia => "SVTA",
            Self::VentricularBigeminy => "B",
            Self::AtrialBigeminy => "AB",
            Self::VentricularTrigeminy => "T",
        }
    }
}

/// What is said of an episode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Told {
    /// It is there, and as it stands so far; it will be told of once more.
    Begins(Episode),
    /// It is over, and as it was.
    Ended(Episode),
}

/// Finds patterns in a series of beats.
#[derive(Debug, Clone)]
pub struct Patterns {
    rate: SampleRate,
    pause: SampleCount,
    last: Option<SampleIndex>,
    /// The ectopic beats in a row that the last beat is of.
    group: Option<Group>,
    /// The latest singles of one origin at an equal distance in beats, at least one.
    cycle: Option<Cycle>,
    /// The normal beats between the last group that ended and what is after them, a few at most.
    n_normal: u64,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    origin: Origin,
    onset: SampleIndex,
    offset: SampleIndex,
    n: u64,
}

#[derive(Debug, Clone, Copy)]
struct Cycle {
    origin: Origin,
    onset: SampleIndex,
    offset: SampleIndex,
    n: u64,
    /// The normal beats between two singles; 1 or 2 once there are two.
    between: Option<u64>,
}

/// The most normal beats between the singles of a cycle.
const MOST_BETWEEN: u64 = 2;

impl Cycle {
    /// Its last single as the first of a cycle at another distance.
    fn anew(self) -> Self {
        Self {
            onset: self.offset,
            n: 1,
            between: None,
            ..self
        }
    }
}

impl Patterns {
    /// For positions at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            pause: rate.count(PAUSE_SECONDS),
            last: None,
            group: None,
            cycle: None,
            n_normal: 0,
        }
    }

    /// Takes the next beat in, later than all before.
    pub fn push(&mut self, beat: &Beat, mut told: impl FnMut(Told)) {
        let at = beat.r_peak;
        if self
            .last
            .is_some_and(|last| at <= last || at.since(last) > self.pause)
        {
            self.interrupt(&mut told);
        }
        match (Origin::of(beat), beat.class) {
            (Some(origin), _) => self.ectopic(origin, at, &mut told),
            (None, Some(BeatClass::N)) => self.normal(&mut told),
            (None, _) => self.interrupt(&mut told),
        }
        self.last = Some(at);
    }

    /// Something was not seen, or the record ends: every pattern ends with the last beat that was pushed.
    pub fn interrupt(&mut self, mut told: impl FnMut(Told)) {
        self.end_group(&mut told);
        self.end_cycle(&mut told);
        self.n_normal = 0;
        self.last = None;
    }

    fn ectopic(&mut self, origin: Origin, at: SampleIndex, told: &mut impl FnMut(Told)) {
        if let Some(group) = self.group.as_mut().filter(|group| group.origin == origin) {
            group.n += 1;
            group.offset = at;
            let group = *group;
            if group.n == 2 {
                // Not a single after all.
                self.end_cycle(told);
            }
            if group.n == RUN_BEATS {
                told(Told::Begins(self.run(group)));
            }
            return;
        }
        self.end_group(told);
        self.fit(origin, told);
        self.group = Some(Group {
            origin,
            onset: at,
            offset: at,
            n: 1,
        });
    }

    fn normal(&mut self, told: &mut impl FnMut(Told)) {
        self.end_group(told);
        self.n_normal = (self.n_normal + 1).min(MOST_BETWEEN + 1);
        if let Some(cycle) = self.cycle
            && self.n_normal > cycle.between.unwrap_or(MOST_BETWEEN)
        {
            self.end_cycle(told);
            self.cycle = (self.n_normal <= MOST_BETWEEN).then(|| cycle.anew());
        }
    }

    /// Makes of the cycle so far what an ectopic beat of `origin` may go on with if it is a single.
    fn fit(&mut self, origin: Origin, told: &mut impl FnMut(Told)) {
        let Some(cycle) = self.cycle else { return };
        let near = cycle.origin == origin && (1..=MOST_BETWEEN).contains(&self.n_normal);
        if near && cycle.between.is_none_or(|n| n == self.n_normal) {
            return;
        }
        self.end_cycle(told);
        self.cycle = near.then(|| cycle.anew());
    }

    fn end_group(&mut self, told: &mut impl FnMut(Told)) {
        let Some(group) = self.group.take() else {
            return;
        };
        told(Told::Ended(self.run(group)));
        if group.n > 1 {
            self.n_normal = 0;
            return;
        }
        let cycle = match self.cycle {
            Some(cycle) => Cycle {
                offset: group.offset,
                n: cycle.n + 1,
                between: Some(self.n_normal),
                ..cycle
            },
            None => Cycle {
                origin: group.origin,
                onset: group.onset,
                offset: group.offset,
                n: 1,
                between: None,
            },
        };
        self.cycle = Some(cycle);
        self.n_normal = 0;
        if cycle.n == CYCLE_BEATS {
            told(Told::Begins(self.turn(cycle)));
        }
    }

    fn end_cycle(&mut self, told: &mut impl FnMut(Told)) {
        if let Some(cycle) = self.cycle.take()
            && cycle.n >= CYCLE_BEATS
        {
            told(Told::Ended(self.turn(cycle)));
        }
    }

    fn run(&self, group: Group) -> Episode {
        let pattern = match group.n {
            1 => Pattern::Single,
            2 => Pattern::Couplet,
            _ => Pattern::Run,
        };
        let counts = (group.n, group.n);
        self.episode(pattern, group.origin, (group.onset, group.offset), counts)
    }

    fn turn(&self, cycle: Cycle) -> Episode {
        let between = cycle.between.unwrap_or(MOST_BETWEEN);
        let pattern = if between == 1 {
            Pattern::Bigeminy
        } else {
            Pattern::Trigeminy
        };
        let counts = ((cycle.n - 1) * (between + 1) + 1, cycle.n);
        self.episode(pattern, cycle.origin, (cycle.onset, cycle.offset), counts)
    }

    fn episode(
        &self,
        pattern: Pattern,
        origin: Origin,
        (onset, offset): (SampleIndex, SampleIndex),
        (n_beats, n_ectopic): (u64, u64),
    ) -> Episode {
        let seconds = self.rate.seconds(offset.since(onset));
        Episode {
            pattern,
            origin,
            onset,
            offset,
            n_beats,
            n_ectopic,
            bpm: (seconds > 0.0).then(|| 60.0 * (n_beats - 1) as f64 / seconds),
        }
    }
}

#[cfg(test)]
mod tests;
