//! How many ectopic beats there are, and how they come.

use ecg::Beat;

use super::{Episode, Origin, Pattern, Told};

/// The ectopic beats of a stretch, counted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Burden {
    /// All its beats.
    pub n_beats: u64,
    /// What comes from the ventricles.
    pub ventricular: Counts,
    /// What comes from above them.
    pub supraventricular: Counts,
}

/// The ectopic beats of one origin, counted. Every beat is a single, or in one couplet or run.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counts {
    /// The beats.
    pub n_beats: u64,
    /// Those alone, of bigeminy and trigeminy included.
    pub n_singles: u64,
    /// Two in a row.
    pub n_couplets: u64,
    /// Three and more in a row.
    pub n_runs: u64,
    /// The run with the most beats, the first of several.
    pub longest_run: Option<Episode>,
    /// The run with the highest mean rate, the first of several.
    pub fastest_run: Option<Episode>,
    /// Episodes of bigeminy.
    pub n_bigeminy: u64,
    /// Episodes of trigeminy.
    pub n_trigeminy: u64,
}

impl Burden {
    /// Counts a beat.
    pub fn push(&mut self, beat: &Beat) {
        self.n_beats += 1;
        if let Some(origin) = Origin::of(beat) {
            self.of_mut(origin).n_beats += 1;
        }
    }

    /// Counts an episode once it has ended.
    pub fn told(&mut self, told: &Told) {
        let Told::Ended(episode) = told else { return };
        let counts = self.of_mut(episode.origin);
        match episode.pattern {
            Pattern::Single => counts.n_singles += 1,
            Pattern::Couplet => counts.n_couplets += 1,
            Pattern::Run => counts.run(episode),
            Pattern::Bigeminy => counts.n_bigeminy += 1,
            Pattern::Trigeminy => counts.n_trigeminy += 1,
        }
    }

    /// The counts of an origin.
    pub fn of(&self, origin: Origin) -> &Counts {
        match origin {
            Origin::Ventricular => &self.ventricular,
            Origin::Supraventricular => &self.supraventricular,
        }
    }

    /// The share of the beats of an origin among all, percent; `None` without any beat.
    pub fn percent(&self, origin: Origin) -> Option<f64> {
        let part = self.of(origin).n_beats as f64;
        (self.n_beats > 0).then(|| 100.0 * part / self.n_beats as f64)
    }

    fn of_mut(&mut self, origin: Origin) -> &mut Counts {
        match origin {
            Origin::Ventricular => &mut self.ventricular,
            Origin::Supraventricular => &mut self.supraventricular,
        }
    }
}

impl Counts {
    fn run(&mut self, run: &Episode) {
        self.n_runs += 1;
        if self
            .longest_run
            .is_none_or(|longest| run.n_beats > longest.n_beats)
        {
            self.longest_run = Some(*run);
        }
        if self.fastest_run.is_none_or(|fastest| run.bpm > fastest.bpm) {
            self.fastest_run = Some(*run);
        }
    }
}
