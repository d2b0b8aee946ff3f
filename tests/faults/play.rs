//! A load, faults meanwhile, and the judgement.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use einthoven::config::Config;
use einthoven::load::{self, Api, Ear, Load, Plan, Run, Verdict, Witness};
use store::Store;

use super::scene::{Kind, Props, Scene, Small};
use crate::support::wait_for;

/// One kind of fault.
#[derive(Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// Which databases it makes sense with.
    pub(crate) kinds: &'static [Kind],
    pub(crate) props: Props,
    /// Devices at real time, where a few at many times that are not what it is about.
    pub(crate) devices: usize,
    /// The broker forgets what it has acknowledged.
    pub(crate) broker_loses: bool,
    /// It happens, and is over.
    pub(crate) round: fn(&mut Scene),
}

/// How to play.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Play {
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
    pub(crate) devices: usize,
    pub(crate) speed: f64,
    /// Where many devices belong to the fault, so many at most: in real time, and the program of the tests is not optimised.
    pub(crate) crowd: usize,
    /// Without data for so long, records are closed: longer than any fault, and waited for at the end.
    pub(crate) silence: Duration,
}

/// How long a service may take to be itself again after a fault, and to have dealt with everything at the end. Devices of the
/// load notice within 65 s that their connection is dead, and send nothing before.
const RECOVERY: Duration = Duration::from_secs(90);
const SETTLE: Duration = Duration::from_secs(180);
/// How long the play goes on before the first fault and after the last.
const CALM: Duration = Duration::from_secs(3);

impl Play {
    /// A small one.
    pub(crate) fn short(kind: Kind, seed: u64) -> Self {
        Self {
            kind,
            seed,
            devices: 12,
            speed: 10.0,
            crowd: 250,
            silence: Duration::from_secs(20),
        }
    }

    /// Plays rounds of some faults, one after the other, in one scene.
    pub(crate) fn run(&self, faults: &[(&Fault, u32)]) -> Row {
        let all = || faults.iter().map(|(fault, _)| fault.props);
        let props = Props {
            small: all()
                .map(|props| props.small)
                .find(|small| *small != Small::None)
                .unwrap_or_default(),
            slow_models: all().any(|props| props.slow_models),
            clock: all().any(|props| props.clock),
        };
        let settings = format!(
            // An outage that the test makes is no reason for an alarm of every device, and one core is the test's.
            "[pipeline]\nsilence = \"{}s\"\n[alarm]\nno_data = \"60s\"\n[infer]\nthreads = 1\n",
            self.silence.as_secs()
        );
        let mut scene = Scene::start(self.kind, self.seed, &settings, props);
        let crowd = faults.iter().map(|(fault, _)| fault.devices).max();
        let (devices, speed) = match crowd.unwrap_or(0) {
            0 => (self.devices, self.speed),
            n => (n.min(self.crowd), 1.0),
        };
        let plan = Plan {
            speed,
            seed: self.seed,
            scripts: devices.min(16),
            // For as long as it takes, and no longer.
            ..Plan::new(scene.devices_url(), devices, 3600)
        };
        let load = scene.runtime.block_on(Load::start(plan)).unwrap();
        std::thread::sleep(2 * CALM);

        let mut row = Row {
            fault: faults
                .iter()
                .map(|(fault, _)| fault.name)
                .collect::<Vec<_>>()
                .join(","),
            kind: self.kind,
            devices,
            broker_loses: faults.iter().any(|(fault, _)| fault.broker_loses),
            ..Row::default()
        };
        row.resident.0 = scene.resident_mib();
        for (fault, n) in faults {
            for _ in 0..*n {
                scene.pass(200..2500);
                (fault.round)(&mut scene);
                let took = recover(&mut scene);
                row.slowest = row.slowest.max(took);
                row.rounds += 1;
            }
        }
        std::thread::sleep(CALM);
        load.stop();
        let mut runs = vec![scene.runtime.block_on(load.finished())];
        runs.append(&mut scene.runs);
        for run in runs {
            row.judge(&scene, &run);
        }
        row.complaints.append(&mut scene.complaints());
        row.resident.1 = scene.resident_mib();
        row.panics = scene.count_in_logs("panicked");
        row.refused = scene.count_in_logs("refused by the database and dropped");
        if row.broker_loses {
            row.afterwards = self.again(&scene);
        }
        row
    }

    /// What the oracle says of a play after the faults: whatever was lost by then, nothing is now.
    fn again(&self, scene: &Scene) -> Vec<String> {
        let plan = Plan {
            speed: self.speed,
            seed: self.seed + 1,
            prefix: "after".to_owned(),
            ..Plan::new(scene.devices_url(), 4, 60)
        };
        let load = scene.runtime.block_on(Load::start(plan)).unwrap();
        let run = scene.runtime.block_on(load.finished());
        let mut row = Row::default();
        row.judge(scene, &run);
        row.complaints.extend(
            row.missing
                .into_iter()
                .chain(row.unexpected)
                .chain(row.twice),
        );
        row.complaints
    }
}

/// Waits until the service is ready and makes rows durable again; how long that took.
fn recover(scene: &mut Scene) -> Duration {
    let began = Instant::now();
    scene.wait_ready();
    let commits = |scene: &Scene| scene.service().metric("store_commits_total", &[]);
    let before = commits(scene);
    wait_for("rows to be stored again", RECOVERY, || {
        (commits(scene) > before).then_some(())
    });
    began.elapsed()
}

/// What came of a fault.
#[derive(Debug, Default)]
pub(crate) struct Row {
    fault: String,
    kind: Kind,
    broker_loses: bool,
    devices: usize,
    rounds: u32,
    packets: u64,
    obligations: u64,
    missing: Vec<String>,
    unexpected: Vec<String>,
    twice: Vec<String>,
    panics: usize,
    refused: usize,
    slowest: Duration,
    /// MiB before the faults and after everything.
    resident: (f64, f64),
    /// What is wrong otherwise.
    complaints: Vec<String>,
    /// What is wrong with a play after the faults, where the broker loses some of the first.
    afterwards: Vec<String>,
}

impl Row {
    /// Above what [`Row`] prints.
    pub(crate) const HEAD: &str = "fault                    database  rounds  packets  obligations  missing  unexpected  \
        twice  panics  slowest recovery  memory before, after";

    fn judge(&mut self, scene: &Scene, run: &Run) {
        let verdict = verdict(scene, run);
        match verdict {
            Ok(verdict) => self.add(run, verdict),
            Err(error) => self.complaints.push(error),
        }
    }

    fn add(&mut self, run: &Run, verdict: Verdict) {
        self.packets += run.acked();
        self.obligations += verdict.checked.values().sum::<u64>();
        for accusation in verdict.accusations {
            let list = match accusation.fault {
                load::Fault::Missing => &mut self.missing,
                load::Fault::Unexpected | load::Fault::Different => &mut self.unexpected,
                load::Fault::Twice => &mut self.twice,
            };
            list.push(accusation.to_string());
        }
        let problems = run.devices.iter().filter_map(|log| {
            let problem = log.problem.as_ref()?;
            Some(format!("{}: {problem}", log.device))
        });
        self.complaints.extend(problems);
    }

    /// What is wrong, the first of each kind.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut some = |what: &str, list: &[String]| {
            let shown = list.iter().take(12);
            wrong.extend(shown.map(|one| format!("{what}{one}")));
        };
        if !self.broker_loses {
            some("", &self.missing);
            some("", &self.unexpected);
        }
        some("", &self.twice);
        some("", &self.complaints);
        some("afterwards: ", &self.afterwards);
        if self.panics > 0 {
            wrong.push(format!("{} lines of panics", self.panics));
        }
        if self.refused > 0 {
            wrong.push(format!("rows dropped {} times", self.refused));
        }
        // Caches and the allocator keep some, and a device that has just come has not filled its 256 KiB; what grows with every
        // fault does not stay below this.
        let (before, after) = self.resident;
        if after > 1.5 * before + 64.0 + 0.25 * self.devices as f64 {
            wrong.push(format!("memory went from {before:.0} to {after:.0} MiB"));
        }
        wrong
    }

    #[track_caller]
    pub(crate) fn expect_clean(&self) {
        let wrong = self.wrong();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(self.obligations > 100, "{} obligations", self.obligations);
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:24} {:9} {:6} {:8} {:12} {:8} {:11} {:6} {:7} {:14.1} s {:8.0} MiB, {:.0} MiB{}",
            self.fault,
            self.kind.name(),
            self.rounds,
            self.packets,
            self.obligations,
            self.missing.len(),
            self.unexpected.len(),
            self.twice.len(),
            self.panics,
            self.slowest.as_secs_f64(),
            self.resident.0,
            self.resident.1,
            if self.broker_loses {
                "  (the broker's loss)"
            } else {
                ""
            },
        )
    }
}

/// Waits until everything is dealt with, and asks the oracle.
fn verdict(scene: &Scene, run: &Run) -> Result<Verdict, String> {
    let settings = scene.settings_file();
    let direct = scene.direct_url();
    let config = Config::load(
        Some(&settings),
        std::iter::empty(),
        &[("store.url", direct)],
    );
    let config = config.map_err(|error| error.to_string())?;
    let api = Api::new(scene.service().base())?;
    let asked = async {
        let store = Store::open(&config.store).await?;
        let left = load::settle(&store, run, Some(&api), SETTLE).await?;
        // The broker has the open alarms retained, and says so to whoever comes.
        let ear = Ear::open(&run.plan, None).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let witness = Witness {
            ear: Some(&ear),
            api: None,
        };
        let verdict = load::verify(&store, run, &config, witness).await?;
        store.close().await;
        Ok::<_, Box<dyn std::error::Error>>((left, verdict))
    };
    let (left, verdict) = scene
        .runtime
        .block_on(asked)
        .map_err(|error| error.to_string())?;
    match left {
        Some(left) => Err(format!("not settled within {SETTLE:?}: {left}")),
        None => Ok(verdict),
    }
}

/// As many rounds as wanted, of the faults that are wanted.
pub(crate) struct Long {
    /// Empty for all.
    only: Vec<String>,
    kinds: Vec<Kind>,
    /// Rounds of `service-kill`, over all databases; and of each other fault on each database.
    kills: u32,
    rounds: u32,
    /// Rounds in one scene.
    each: u32,
    seed: u64,
    devices: usize,
    speed: f64,
}

impl Long {
    /// From the variables that `tests/endure` sets.
    pub(crate) fn from_environment() -> Self {
        let word = |name: &str| std::env::var(format!("EINTHOVEN_FAULTS_{name}")).ok();
        let number = |name: &str, otherwise: f64| {
            let word = word(name).filter(|word| !word.is_empty());
            word.map_or(otherwise, |word| {
                word.parse().unwrap_or_else(|_| panic!("{name} is {word}"))
            })
        };
        let list = |name: &str| {
            let words = word(name).unwrap_or_default();
            let words = words.split(',').filter(|word| !word.is_empty());
            words.map(str::to_owned).collect::<Vec<_>>()
        };
        let databases = list("DATABASE");
        let wanted =
            |kind: &Kind| databases.is_empty() || databases.iter().any(|d| d == kind.name());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small whole numbers"
        )]
        let whole = |name: &str, otherwise: f64| number(name, otherwise) as u32;
        Self {
            only: list("ONLY"),
            kinds: [Kind::Postgres, Kind::Sqlite]
                .into_iter()
                .filter(wanted)
                .collect(),
            kills: whole("KILLS", 200.0),
            rounds: whole("ROUNDS", 10.0),
            each: whole("EACH", 20.0).max(1),
            seed: whole("SEED", 1.0).into(),
            devices: whole("DEVICES", 20.0) as usize,
            speed: number("SPEED", 10.0),
        }
    }

    /// Plays, prints a table, and fails if anything is wrong in it.
    pub(crate) fn run(&self, faults: &[Fault]) {
        let began = Instant::now();
        println!("{}", Row::HEAD);
        let mut wrong = Vec::new();
        for fault in faults {
            if !self.only.is_empty() && !self.only.iter().any(|name| name == fault.name) {
                continue;
            }
            for &kind in self.kinds.iter().filter(|kind| fault.kinds.contains(kind)) {
                let rounds = match fault.name {
                    "service-kill" => self
                        .kills
                        .div_ceil(u32::try_from(self.kinds.len()).unwrap()),
                    _ => self.rounds,
                };
                let mut left = rounds;
                while left > 0 {
                    let n = left.min(self.each);
                    let seed = self.seed + u64::from(rounds - left);
                    wrong.extend(self.scene(fault, kind, n, seed));
                    left -= n;
                }
            }
        }
        println!("in {:.0} s", began.elapsed().as_secs_f64());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// One scene; what is wrong.
    fn scene(&self, fault: &Fault, kind: Kind, rounds: u32, seed: u64) -> Vec<String> {
        let play = Play {
            kind,
            seed,
            devices: self.devices,
            speed: self.speed,
            crowd: usize::MAX,
            // The load's devices notice a half-open connection within 65 s: what lies near the silence could be either.
            silence: Duration::from_secs(if fault.name == "network-half-open" {
                75
            } else {
                30
            }),
        };
        let named =
            |what: String| format!("{} on {}, seed {seed}: {what}", fault.name, kind.name());
        let wrong: Vec<String> =
            match catch_unwind(AssertUnwindSafe(|| play.run(&[(fault, rounds)]))) {
                Ok(row) => {
                    println!("{row}");
                    row.wrong()
                }
                Err(_) => vec!["the scene did not come to its end, see above".to_owned()],
            };
        let wrong: Vec<String> = wrong.into_iter().map(named).collect();
        for one in &wrong {
            println!("    {one}");
        }
        wrong
    }
}
