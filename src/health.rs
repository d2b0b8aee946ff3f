//! Whether the service makes progress, and how full its channels are.
//!
//! Each stage says what it is doing ([`Stage`]); once a second [`Health::look`] sees whether it has got on. A stage that has
//! something to do and has not got on for [`service.watchdog`](crate::config::Service::watchdog) is stuck: then
//! `/healthz` fails, and a supervisor starts the process again. What waits for the database, or for a stage that does, is
//! not stuck: starting again would not help, and `/readyz` says what is missing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::wall;

/// What a stage is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Nothing: it waits for something to do.
    Idle,
    /// Something that only takes the processor.
    Working,
    /// Waiting for the stage behind it.
    Waiting,
    /// Waiting for the database.
    Database,
}

/// A stage as it shows itself. Cheap to clone.
#[derive(Clone)]
pub struct Stage(Arc<Inner>);

struct Inner {
    name: String,
    // Never held across an await: every use is a few assignments.
    state: Mutex<State>,
    /// What others have given it to do, where no channel can be asked.
    pending: AtomicUsize,
}

struct State {
    doing: Doing,
    since: Instant,
    /// Grows whenever it goes from one thing to another.
    steps: u64,
    busy: Duration,
    waiting: Duration,
    /// When the oldest of what it has not finished came in.
    oldest: Option<Instant>,
}

impl Stage {
    /// A stage that nothing has been seen of.
    pub fn new(name: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            state: Mutex::new(State {
                doing: Doing::Idle,
                since: wall::instant(),
                steps: 0,
                busy: Duration::ZERO,
                waiting: Duration::ZERO,
                oldest: None,
            }),
            pending: AtomicUsize::new(0),
        }))
    }

    /// It waits for something to do.
    pub fn idle(&self) {
        self.go(Doing::Idle);
    }

    /// It has something to do.
    pub fn working(&self) {
        self.go(Doing::Working);
    }

    /// It waits for room behind it.
    pub fn waiting(&self) {
        self.go(Doing::Waiting);
    }

    /// It waits for the database.
    pub fn database(&self) {
        self.go(Doing::Database);
    }

    /// Somebody has given it something to do that no channel shows.
    pub fn given(&self) {
        self.0.pending.fetch_add(1, Relaxed);
    }

    /// One thing that it was [given](Self::given) is done.
    pub fn done(&self) {
        self.0.pending.fetch_sub(1, Relaxed);
        self.lock().steps += 1;
    }

    /// When the oldest of what it has not finished came in.
    pub fn set_oldest(&self, oldest: Option<Instant>) {
        self.lock().oldest = oldest;
    }

    fn go(&self, doing: Doing) {
        let now = wall::instant();
        let mut state = self.lock();
        state.settle(now);
        state.doing = doing;
        state.steps += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked while holding it had at most not yet assigned everything.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts the time since the last change.
    fn settle(&mut self, now: Instant) {
        let spent = now.saturating_duration_since(self.since);
        match self.doing {
            Doing::Idle => {}
            Doing::Working => self.busy += spent,
            Doing::Waiting | Doing::Database => self.waiting += spent,
        }
        self.since = now;
    }
}

/// How full a channel is: what is in it and what fits in, `None` once it is closed.
type Probe = Box<dyn Fn() -> Option<(usize, usize)> + Send + Sync>;

/// Every stage and channel of the running service.
#[derive(Default)]
pub struct Health {
    stages: Vec<(Stage, Vec<Probe>)>,
    channels: Vec<(String, Probe)>,
    /// What was seen when it was looked last: steps, and since when there were no more, by stage.
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    looked: Option<Instant>,
    since: HashMap<String, (u64, Instant)>,
    stopped: bool,
}

/// A stage as it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Its name: a bounded label.
    pub name: String,
    /// How long it has worked.
    pub busy: Duration,
    /// How long it has waited for room or the database.
    pub waiting: Duration,
    /// How long it has not got on although there was something to do; zero where it does.
    pub stalled: Duration,
    /// How long ago the oldest of what it has not finished came in; zero where there is nothing.
    pub oldest: Duration,
}

impl Health {
    /// Watches a stage.
    pub fn watch(&mut self, stage: Stage) {
        self.stages.push((stage, Vec::new()));
    }

    /// Watches a channel, which is input of the stage watched last.
    pub fn input<T: Send + 'static>(&mut self, name: &str, sender: &mpsc::Sender<T>) {
        // Weak, for a channel ends when its last sender is gone.
        let probe = |sender: mpsc::WeakSender<T>| -> Probe {
            Box::new(move || {
                let sender = sender.upgrade()?;
                let most = sender.max_capacity();
                Some((most - sender.capacity(), most))
            })
        };
        self.channels
            .push((name.to_owned(), probe(sender.downgrade())));
        if let Some((_, inputs)) = self.stages.last_mut() {
            inputs.push(probe(sender.downgrade()));
        }
    }

    /// Every channel: name, what is in it, what fits in.
    pub fn channels(&self) -> impl Iterator<Item = (&str, usize, usize)> {
        self.channels.iter().filter_map(|(name, probe)| {
            let (depth, capacity) = probe()?;
            Some((name.as_str(), depth, capacity))
        })
    }

    /// Sees whether every stage has got on since it was looked last. To be called once a second.
    pub fn look(&self, now: Instant) -> Vec<View> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.looked = Some(now);
        let is_database = |(stage, _): &(Stage, _)| stage.lock().doing == Doing::Database;
        let database_is_waited_for = self.stages.iter().any(is_database);
        let mut views = Vec::new();
        for (stage, inputs) in &self.stages {
            let has_input = stage.0.pending.load(Relaxed) > 0
                || inputs
                    .iter()
                    .filter_map(|probe| probe())
                    .any(|(n, _)| n > 0);
            let mut state = stage.lock();
            state.settle(now);
            let excused = match state.doing {
                Doing::Idle => !has_input,
                Doing::Working => false,
                Doing::Waiting => database_is_waited_for,
                Doing::Database => true,
            };
            let name = &stage.0.name;
            let known = seen.since.get(name).copied();
            let since = match known {
                Some((steps, since)) if steps == state.steps && !excused => since,
                _ => now,
            };
            seen.since.insert(name.clone(), (state.steps, since));
            let age = |from: Instant| now.saturating_duration_since(from);
            views.push(View {
                name: name.clone(),
                busy: state.busy,
                waiting: state.waiting,
                stalled: age(since),
                oldest: state.oldest.map_or(Duration::ZERO, age),
            });
        }
        views
    }

    /// The service is stopping: from now on it is up to the drain's limit.
    pub fn stop(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.stopped = true;
    }

    /// What is stuck at `now`, for `limit` or longer.
    pub fn stuck(&self, now: Instant, limit: Duration) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.stopped {
            return Vec::new();
        }
        let age = |from: Instant| now.saturating_duration_since(from);
        let say =
            |name: &str, age: Duration| format!("{name}: no progress for {} s", age.as_secs());
        let mut stuck = Vec::new();
        // Who looks may be stuck as well.
        if let Some(looked) = seen.looked.filter(|looked| age(*looked) >= limit) {
            stuck.push(say("watchdog", age(looked)));
        }
        for (name, (_, since)) in &seen.since {
            if age(*since) >= limit {
                stuck.push(say(name, age(*since)));
            }
        }
        stuck.sort();
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Looks once a second for `seconds` from `start`.
    fn watch(health: &Health, start: Instant, seconds: u64) -> Vec<String> {
        let mut now = start;
        for second in 0..=seconds {
            now = start + Duration::from_secs(second);
            health.look(now);
        }
        health.stuck(now, LIMIT)
    }

    #[tokio::test]
    async fn input_that_nobody_takes_is_stuck_and_an_empty_channel_is_not() {
        let (sender, mut receiver) = mpsc::channel(4);
        let mut health = Health::default();
        health.watch(Stage::new("a"));
        health.input("to_a", &sender);
        let start = wall::instant();
        assert!(watch(&health, start, 60).is_empty());
        sender.try_send(1).unwrap();
        assert!(watch(&health, start + Duration::from_secs(60), 9).is_empty());
        let stuck = watch(&health, start + Duration::from_secs(70), 5);
        assert_eq!(stuck.len(), 1, "{stuck:?}");
        assert!(stuck[0].starts_with("a: no progress for 1"), "{stuck:?}");
        assert_eq!(health.channels().collect::<Vec<_>>(), [("to_a", 1, 4)]);
        receiver.recv().await.unwrap();
        assert!(watch(&health, start + Duration::from_secs(80), 0).is_empty());
        // Watching does not keep a channel open.
        drop(sender);
        assert!(receiver.recv().await.is_none());
        assert_eq!(health.channels().count(), 0);
    }

    #[test]
    fn work_that_does_not_end_is_stuck_and_steps_are_progress() {
        let stage = Stage::new("a");
        let mut health = Health::default();
        health.watch(stage.clone());
        let start = wall::instant();
        stage.working();
        assert!(watch(&health, start, 9).is_empty());
        stage.working();
        assert!(watch(&health, start + Duration::from_secs(10), 9).is_empty());
        assert_eq!(watch(&health, start + Duration::from_secs(20), 0).len(), 1);
        stage.idle();
        assert!(watch(&health, start + Duration::from_secs(21), 60).is_empty());
        // What was given by others is input.
        stage.given();
        assert_eq!(watch(&health, start + Duration::from_secs(90), 20).len(), 1);
        stage.done();
        assert!(watch(&health, start + Duration::from_secs(120), 60).is_empty());
    }

    #[test]
    fn a_database_that_is_away_is_no_reason_but_work_that_hangs_is() {
        let (shard, persist) = (Stage::new("shard"), Stage::new("persist"));
        let mut health = Health::default();
        health.watch(shard.clone());
        health.watch(persist.clone());
        let start = wall::instant();
        shard.waiting();
        persist.database();
        assert!(watch(&health, start, 3600).is_empty());
        // It is back, and time begins anew.
        persist.idle();
        let later = start + Duration::from_secs(3600);
        assert!(watch(&health, later, 9).is_empty());
        let stuck = watch(&health, later + Duration::from_secs(9), 3);
        assert_eq!(stuck.len(), 1, "{stuck:?}");
        // A shard that hangs in its own work does not wait for the database.
        persist.database();
        shard.working();
        let later = later + Duration::from_secs(60);
        assert_eq!(watch(&health, later, 11).len(), 1);
        // Stopping has a limit of its own.
        health.stop();
        assert!(watch(&health, later, 60).is_empty());
    }

    #[test]
    fn a_watchdog_that_does_not_look_is_stuck() {
        let health = Health::default();
        let start = wall::instant();
        assert!(health.stuck(start + LIMIT * 10, LIMIT).is_empty());
        health.look(start);
        assert!(health.stuck(start + LIMIT / 2, LIMIT).is_empty());
        assert_eq!(health.stuck(start + LIMIT * 2, LIMIT).len(), 1);
    }
}
