//! What a model said of the last windows of a wave.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ecg::{SampleIndex, SignalKind};

use super::WindowSaid;

/// More are never asked for: a stretch of half a minute has five windows.
const MOST: usize = 8;

/// What a model said of the last windows of one wave, by its signal and where each ends.
///
/// Clones share what they remember. It may be shared by the stretches of one unbroken wave whose windows lie on one grid, and
/// by no others: a window is known by its end alone. Nothing that is said depends on it.
#[derive(Debug, Clone, Default)]
pub struct Remembered(Arc<Mutex<VecDeque<(SignalKind, SampleIndex, WindowSaid)>>>);

impl Remembered {
    /// Bytes on the heap.
    pub const MAX_BYTES: usize =
        size_of::<Mutex<VecDeque<(SignalKind, SampleIndex, WindowSaid)>>>()
            + MOST * size_of::<(SignalKind, SampleIndex, WindowSaid)>();

    pub(super) fn of(&self, signal: SignalKind, end: SampleIndex) -> Option<WindowSaid> {
        let all = self.lock();
        let found = all.iter().find(|(s, e, _)| (*s, *e) == (signal, end));
        found.map(|(_, _, said)| *said)
    }

    pub(super) fn keep(&self, signal: SignalKind, end: SampleIndex, said: WindowSaid) {
        let mut all = self.lock();
        if all.len() == MOST {
            all.pop_front();
        }
        all.push_back((signal, end, said));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(SignalKind, SampleIndex, WindowSaid)>> {
        // Whatever panicked, what is remembered is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is remembered follows from the wave.
impl PartialEq for Remembered {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
