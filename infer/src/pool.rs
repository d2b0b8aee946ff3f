//! Reading windows on OS threads of their own.
//!
//! **Every job that is submitted is answered exactly once**, with its result or with
//! [`Outcome::Shed`], on a thread of the pool or on the submitting one.
//!
//! * Each device has one place for a live window and one for a pulse wave: a newer one takes it, and the one displaced is
//!   shed at once. What waits is therefore bounded by the number of devices.
//! * Jobs to keep (the strips of alarms) are not shed for others and go first; the caller bounds them.
//! * Devices take turns, among jobs to keep and among live windows.
//! * **A live window that has waited for longer than [`Config::late`] is read without its twelve leads**
//!   ([`Reader::read_measured`]), which takes a fraction of the time, unless they are due ([`Job::Due`]). So under too much
//!   load reconstruction goes first, then whole windows; nothing is queued that is worthless by the time it is read.
//! * Threads run at a lower priority than what feeds them, where the system has such: beats and alarms go before models.
//! * A panic ends its job, not its thread.
//!
//! No lock is held while a model runs or a reply is called.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ecg::DeviceId;

use crate::error::panic_message;
use crate::{Error, Reader, Said, Task, When};

/// What a submitted window is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// The present state of a device: worthless once a newer window is there.
    Live,
    /// The same of a device that has had no twelve leads for so long that it is to have them now.
    Due,
    /// To be kept, such as the strip of an alarm: never displaced, and first in line.
    Keep,
}

/// What became of a job.
#[derive(Debug)]
pub enum Outcome {
    /// It ran.
    Done(Box<Result<Said, Error>>),
    /// A newer window of the same device took its place, or the pool shut down.
    Shed,
}

type Reply = Box<dyn FnOnce(Outcome) + Send>;
type Work = Box<dyn Fn(&Task, Job, Effort) -> Result<Said, Error> + Send + Sync>;
type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// How much is done for a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// Everything.
    All,
    /// What needs no twelve leads.
    Measured,
}

/// How many threads, and when they are late.
#[derive(Debug, Clone)]
pub struct Config {
    /// Threads; at least one is started.
    pub threads: usize,
    /// How long a live window may wait before its twelve leads are left out.
    pub late: Duration,
    /// By how much the threads are nicer than the rest of the process, 0 to 19.
    pub nice: u8,
}

/// Threads that read windows.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    line: Mutex<Line>,
    wake: Condvar,
    work: Work,
    clock: Clock,
    late: Duration,
    /// Bits of an `f64`, seconds.
    last_run: AtomicU64,
}

/// Where a live task waits: a newer one of the same place displaces it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    device: DeviceId,
    is_pulse: bool,
}

/// A task and who waits for it.
struct Ticket {
    task: Task,
    job: Job,
    submitted: Duration,
    reply: Reply,
}

/// What waits. A device is in `keep_turns`, a place in `live_turns`, if and only if it has such a job.
#[derive(Default)]
struct Line {
    keep: HashMap<DeviceId, VecDeque<Ticket>>,
    keep_turns: VecDeque<DeviceId>,
    live: HashMap<Place, Ticket>,
    live_turns: VecDeque<Place>,
    n_keep: usize,
    closed: bool,
}

impl Line {
    /// Puts a job in line and returns the one it displaces.
    fn push(&mut self, device: DeviceId, ticket: Ticket) -> Option<Ticket> {
        match ticket.job {
            Job::Keep => {
                self.n_keep += 1;
                let jobs = self.keep.entry(device.clone()).or_default();
                if jobs.is_empty() {
                    self.keep_turns.push_back(device);
                }
                jobs.push_back(ticket);
                None
            }
            Job::Live | Job::Due => {
                let place = Place {
                    device,
                    is_pulse: matches!(ticket.task, Task::Pulse(_)),
                };
                // The newer task inherits the turn of the one it displaces.
                let displaced = self.live.insert(place.clone(), ticket);
                if displaced.is_none() {
                    self.live_turns.push_back(place);
                }
                displaced
            }
        }
    }

    /// Takes the next job: those to keep first, devices in turn.
    fn pop(&mut self) -> Option<Ticket> {
        if let Some(device) = self.keep_turns.pop_front() {
            let jobs = self.keep.get_mut(&device)?;
            let ticket = jobs.pop_front()?;
            self.n_keep -= 1;
            if jobs.is_empty() {
                self.keep.remove(&device);
            } else {
                self.keep_turns.push_back(device);
            }
            return Some(ticket);
        }
        let place = self.live_turns.pop_front()?;
        self.live.remove(&place)
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        // Nothing panics while it holds the lock, and each step leaves the line whole.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs jobs until the pool is closed and nothing is left.
    fn run(&self) {
        loop {
            let mut line = self.line();
            let ticket = loop {
                if let Some(ticket) = line.pop() {
                    break ticket;
                }
                if line.closed {
                    return;
                }
                line = self.wake.wait(line).unwrap_or_else(PoisonError::into_inner);
            };
            drop(line);
            let start = (self.clock)();
            let waited = start.saturating_sub(ticket.submitted);
            let effort = if ticket.job == Job::Live && waited > self.late {
                Effort::Measured
            } else {
                Effort::All
            };
            let work = || (self.work)(&ticket.task, ticket.job, effort);
            let result = catch_unwind(AssertUnwindSafe(work));
            let seconds = (self.clock)().saturating_sub(start).as_secs_f64();
            self.last_run.store(seconds.to_bits(), Ordering::Relaxed);
            let result = result.unwrap_or_else(|panic| {
                Err(Error::Panic {
                    reason: panic_message(&*panic),
                })
            });
            answer(ticket.reply, Outcome::Done(Box::new(result)));
        }
    }
}

/// Lowers the priority of this thread. Where the system refuses, it competes with the rest.
#[cfg(target_os = "linux")]
fn give_way(nice: u8) {
    // On Linux each thread has a nice value of its own, and goes by its id.
    let thread = rustix::thread::gettid();
    rustix::process::setpriority_process(Some(thread), i32::from(nice.min(19))).ok();
}

#[cfg(not(target_os = "linux"))]
fn give_way(_: u8) {}

/// Calls a reply; one that panics has had its answer, and harms nobody else.
fn answer(reply: Reply, outcome: Outcome) {
    drop(catch_unwind(AssertUnwindSafe(|| reply(outcome))));
}

impl Pool {
    /// Starts threads that share one reader.
    ///
    /// `clock` is any monotonic time.
    ///
    /// # Errors
    /// [`Error::Thread`] if the operating system refuses a thread.
    pub fn new(
        config: &Config,
        reader: Arc<Reader>,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let work = move |task: &Task, job: Job, effort: Effort| {
            let window = match task {
                Task::Window(window) => window,
                Task::Pulse(stretch) => return reader.read_pulse(stretch).map(Said::Pulse),
            };
            let reading = match (job, effort) {
                (Job::Keep, _) => reader.read(window, When::Alarm),
                (Job::Live | Job::Due, Effort::All) => reader.read(window, When::Window),
                (Job::Live | Job::Due, Effort::Measured) => reader.read_measured(window),
            };
            reading.map(Said::Window)
        };
        Self::with_work(config, Box::new(work), Box::new(clock))
    }

    fn with_work(config: &Config, work: Work, clock: Clock) -> Result<Self, Error> {
        let mut pool = Self {
            shared: Arc::new(Shared {
                line: Mutex::default(),
                wake: Condvar::new(),
                work,
                clock,
                late: config.late,
                last_run: AtomicU64::new(0.0f64.to_bits()),
            }),
            threads: Vec::new(),
        };
        let nice = config.nice;
        for number in 0..config.threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new()
                .name(format!("infer-{number}"))
                .spawn(move || {
                    give_way(nice);
                    shared.run();
                })
                .map_err(Error::Thread)?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Submits a task; `reply` is called exactly once, and should only hand the outcome on.
    ///
    /// Never blocks on a model. A displaced window's reply is called before this returns.
    pub fn submit(
        &self,
        device: DeviceId,
        task: Task,
        job: Job,
        reply: impl FnOnce(Outcome) + Send + 'static,
    ) {
        let ticket = Ticket {
            task,
            job,
            submitted: (self.shared.clock)(),
            reply: Box::new(reply),
        };
        let displaced = self.shared.line().push(device, ticket);
        self.shared.wake.notify_one();
        if let Some(ticket) = displaced {
            answer(ticket.reply, Outcome::Shed);
        }
    }

    /// Jobs that wait for a thread.
    pub fn queued(&self) -> usize {
        let line = self.shared.line();
        line.n_keep + line.live.len()
    }

    /// What the job that ended last took, in seconds; 0 before the first.
    pub fn last_run_seconds(&self) -> f64 {
        f64::from_bits(self.shared.last_run.load(Ordering::Relaxed))
    }

    /// Sheds what waits, the jobs to keep too, lets what runs end, and ends the threads: however long the line, this takes no
    /// longer than one job. Whoever has to have what was to be kept must be able to ask for it again.
    ///
    /// Returns when every reply has been called. Dropping the pool does the same.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let shed: Vec<Ticket> = {
            let mut line = self.shared.line();
            line.closed = true;
            std::iter::from_fn(|| line.pop()).collect()
        };
        self.shared.wake.notify_all();
        for ticket in shed {
            answer(ticket.reply, Outcome::Shed);
        }
        for thread in self.threads.drain(..) {
            // A reply may own the last handle to the pool; a thread cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                // The loop of a thread catches what it runs, so there is no panic to pass on.
                drop(thread.join());
            }
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads.len())
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pulse_rhythm::Remembered;
    use crate::{PulseReading, PulseStretch, Reading, WindowTask};
    use ecg::{
        Lead, LeadOrigin, SampleIndex, SampleRate, SignalKind, Wavelength, Window, Withheld,
    };
    use std::sync::mpsc::{Receiver, Sender, channel};

    fn task(start: u64) -> Task {
        let window = Window {
            start: SampleIndex(start),
            end: SampleIndex(start + 1),
            rate: SampleRate::new(250.0).unwrap(),
            leads: vec![Lead::II],
            samples: vec![0.0],
            n_samples: 1,
            unusable: Vec::new(),
        };
        Task::Window(WindowTask {
            window: Arc::new(window),
            calibration: None,
            stretch: None,
        })
    }

    fn pulse(start: u64) -> Task {
        Task::Pulse(PulseStretch {
            signal: SignalKind::Ppg(Wavelength::Green),
            start: SampleIndex(start),
            end: SampleIndex(start + 1),
            base: SampleRate::new(50.0).unwrap(),
            rate: SampleRate::new(50.0).unwrap(),
            samples: vec![0.0],
            pulses: Vec::new(),
            said: Remembered::default(),
        })
    }

    fn only_leads(twelve: ecg::TwelveLead) -> Said {
        Said::Window(Reading {
            twelve,
            findings: Vec::new(),
            diagnoses: Vec::new(),
            rhythm: None,
            failures: Vec::new(),
        })
    }

    fn device(name: &str) -> DeviceId {
        name.parse().unwrap()
    }

    /// A pool of one thread that says which window it began and waits for leave to end it, which takes 250 ms of its time.
    /// Windows that waited for more than a second are late. Window 13 panics.
    ///
    /// The pool comes last, so that a test that fails drops `leave` first and cannot hang.
    struct Stand {
        began: Receiver<u64>,
        leave: Sender<()>,
        outcomes: Receiver<(u64, String)>,
        tell: Sender<(u64, String)>,
        /// Milliseconds.
        time: Arc<AtomicU64>,
        pool: Pool,
    }

    fn stand() -> Stand {
        let (begin, began) = channel();
        let (leave, wait) = channel();
        let (tell, outcomes) = channel();
        let (begin, wait) = (Mutex::new(begin), Mutex::new(wait));
        let time = Arc::new(AtomicU64::new(0));
        let takes = Arc::clone(&time);
        let work = move |task: &Task, _: Job, effort: Effort| {
            let (window, start) = match task {
                Task::Window(task) => (Some(&task.window), task.window.start.0),
                Task::Pulse(stretch) => (None, stretch.start.0),
            };
            begin.lock().unwrap().send(start).unwrap();
            let waited = wait.lock().unwrap().recv();
            takes.fetch_add(250, Ordering::Relaxed);
            assert!(waited.is_ok() && start != 13, "unlucky window");
            let Some(window) = window else {
                return Ok(Said::Pulse(PulseReading {
                    decision: None,
                    finding: None,
                }));
            };
            let mut twelve = crate::derive(window)?;
            twelve.withheld = (effort == Effort::Measured).then_some(Withheld::Overloaded);
            Ok(only_leads(twelve))
        };
        let now = Arc::clone(&time);
        let clock = move || Duration::from_millis(now.load(Ordering::Relaxed));
        let config = Config {
            threads: 1,
            late: Duration::from_secs(1),
            nice: 1,
        };
        let pool = Pool::with_work(&config, Box::new(work), Box::new(clock)).unwrap();
        Stand {
            began,
            leave,
            outcomes,
            tell,
            time,
            pool,
        }
    }

    impl Stand {
        fn submit(&self, name: &str, start: u64, job: Job) {
            self.submit_task(name, task(start), start, job);
        }

        fn submit_task(&self, name: &str, task: Task, start: u64, job: Job) {
            let tell = self.tell.clone();
            self.pool.submit(device(name), task, job, move |outcome| {
                let said = match outcome {
                    Outcome::Done(read) => match *read {
                        Ok(Said::Window(read)) if read.is_partial() => "measured".to_owned(),
                        Ok(_) => "done".to_owned(),
                        Err(error) => error.to_string(),
                    },
                    Outcome::Shed => "shed".to_owned(),
                };
                tell.send((start, said)).unwrap();
            });
        }

        fn next(&self) -> u64 {
            self.began.recv().unwrap()
        }

        fn outcome(&self) -> (u64, String) {
            self.outcomes.recv().unwrap()
        }
    }

    #[test]
    fn the_newest_live_window_wins_and_the_displaced_one_is_shed_at_once() {
        let stand = stand();
        stand.submit("busy", 0, Job::Live);
        assert_eq!(stand.next(), 0);
        stand.submit("a", 1, Job::Live);
        stand.submit("a", 2, Job::Live);
        assert_eq!(stand.outcome(), (1, "shed".into()));
        assert_eq!(stand.pool.queued(), 1);
        stand.leave.send(()).unwrap();
        assert_eq!(stand.outcome(), (0, "done".into()));
        assert_eq!(stand.next(), 2);
        stand.leave.send(()).unwrap();
        assert_eq!(stand.outcome(), (2, "done".into()));
        assert_eq!(stand.pool.queued(), 0);
        assert!((stand.pool.last_run_seconds() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_pulse_wave_displaces_an_older_one_and_no_window() {
        let stand = stand();
        stand.submit("busy", 0, Job::Live);
        assert_eq!(stand.next(), 0);
        stand.submit("a", 1, Job::Live);
        stand.submit_task("a", pulse(2), 2, Job::Live);
        stand.submit_task("a", pulse(3), 3, Job::Live);
        assert_eq!(stand.outcome(), (2, "shed".into()));
        assert_eq!(stand.pool.queued(), 2);
        for (done, next) in [(0, 1), (1, 3)] {
            stand.leave.send(()).unwrap();
            assert_eq!(stand.outcome(), (done, "done".into()));
            assert_eq!(stand.next(), next);
        }
    }

    #[test]
    fn jobs_to_keep_go_first_and_devices_take_turns() {
        let stand = stand();
        stand.submit("busy", 0, Job::Live);
        assert_eq!(stand.next(), 0);
        for (name, start, job) in [
            ("a", 1, Job::Live),
            ("b", 2, Job::Live),
            ("a", 3, Job::Keep),
            ("a", 4, Job::Keep),
            ("b", 5, Job::Keep),
            // Displaces 1 and inherits its turn.
            ("a", 6, Job::Live),
        ] {
            stand.submit(name, start, job);
        }
        assert_eq!(stand.outcome(), (1, "shed".into()));
        for expected in [3, 5, 4, 6, 2] {
            stand.leave.send(()).unwrap();
            assert_eq!(stand.next(), expected);
        }
    }

    #[test]
    fn what_waited_for_too_long_is_read_without_twelve_leads_unless_they_are_due() {
        let stand = stand();
        stand.submit("busy", 0, Job::Live);
        assert_eq!(stand.next(), 0);
        stand.submit("a", 1, Job::Live);
        stand.submit("b", 2, Job::Due);
        stand.submit("c", 3, Job::Keep);
        stand.time.fetch_add(900, Ordering::Relaxed);
        stand.submit("d", 4, Job::Live);
        let mut said = Vec::new();
        for window in [3, 1, 2, 4] {
            stand.leave.send(()).unwrap();
            said.push(stand.outcome());
            assert_eq!(stand.next(), window);
        }
        stand.leave.send(()).unwrap();
        said.push(stand.outcome());
        // The last has waited for a second, and no longer.
        let said: Vec<(u64, &str)> = said.iter().map(|(at, said)| (*at, &**said)).collect();
        let expected = [
            (0, "done"),
            (3, "done"),
            (1, "measured"),
            (2, "done"),
            (4, "done"),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_panic_is_an_error_and_its_thread_lives() {
        let stand = stand();
        stand.submit("a", 13, Job::Live);
        stand.leave.send(()).unwrap();
        let (_, said) = stand.outcome();
        assert_eq!(said, "inference panicked: unlucky window");
        // A reply that panics does no harm either.
        let reply = |_| panic!("in a reply");
        stand.pool.submit(device("a"), task(1), Job::Live, reply);
        stand.leave.send(()).unwrap();
        stand.submit("b", 2, Job::Live);
        stand.leave.send(()).unwrap();
        assert_eq!(stand.outcome(), (2, "done".into()));
    }

    #[test]
    fn shutdown_sheds_what_waits_lets_what_runs_end_and_answers_all() {
        let stand = stand();
        stand.submit("a", 0, Job::Live);
        assert_eq!(stand.next(), 0);
        stand.submit("a", 1, Job::Live);
        stand.submit("b", 2, Job::Keep);
        stand.submit("b", 3, Job::Keep);
        let Stand {
            pool,
            outcomes,
            tell,
            leave,
            ..
        } = stand;
        let ending = std::thread::spawn(move || pool.shutdown());
        drop(tell);
        let shed: Vec<_> = outcomes.iter().take(3).collect();
        assert_eq!(shed, [2, 3, 1].map(|start| (start, "shed".into())));
        leave.send(()).unwrap();
        ending.join().unwrap();
        let rest: Vec<_> = outcomes.iter().collect();
        assert_eq!(rest, [(0, "done".into())]);
    }

    #[test]
    fn many_threads_answer_every_job_once() {
        let limits = crate::statements::Limits::default();
        let reader = Arc::new(Reader::new(crate::Library::empty(), limits).unwrap());
        let config = Config {
            threads: 4,
            late: Duration::ZERO,
            nice: 0,
        };
        let pool = Pool::new(&config, reader, || Duration::ZERO).unwrap();
        let (tell, outcomes) = channel();
        for job in 0..2000u64 {
            let tell = tell.clone();
            let kind = if job % 7 == 0 { Job::Keep } else { Job::Live };
            let name = format!("device-{}", job % 50);
            pool.submit(device(&name), task(job), kind, move |outcome| {
                if let Outcome::Done(read) = &outcome {
                    let Said::Window(read) = (**read).as_ref().unwrap() else {
                        panic!("no window");
                    };
                    assert_eq!(read.twelve.start.0, job);
                    assert_eq!(read.twelve.origin[1], LeadOrigin::Measured);
                }
                tell.send((job, matches!(outcome, Outcome::Done(_))))
                    .unwrap();
            });
        }
        while pool.queued() > 0 {
            std::thread::yield_now();
        }
        pool.shutdown();
        drop(tell);
        let mut outcomes: Vec<(u64, bool)> = outcomes.iter().collect();
        outcomes.sort_unstable();
        assert!(outcomes.iter().map(|(job, _)| *job).eq(0..2000));
        assert!(outcomes.iter().all(|(job, done)| *done || job % 7 != 0));
    }
}
