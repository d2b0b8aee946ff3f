//! `load`: many simulated wearables, and what must have come of them.

use std::time::Duration;

use color_eyre::eyre::{WrapErr, eyre};
use indicatif::ProgressBar;
use store::Store;

use super::{Failure, LoadArgs, answer, on_signal, progress, start_logging};
use crate::config::Config;
use crate::load::{
    Api, Bad, Ear, Load, Plan, Run, Verdict, Witness, measure, report, settle, verify,
};

/// Plays, verifies, reports.
pub(super) fn run(args: &LoadArgs) -> Result<(), Failure> {
    let plan = plan(args);
    plan.check().map_err(Failure::usage)?;
    if !(args.settle >= 0.0 && args.settle <= 86_400.0) {
        let (value, limits) = (args.settle, "0 to 86400");
        return Err(Failure::usage(eyre!(
            "--settle is {value}, where {limits} is allowed"
        )));
    }
    let overrides: Vec<(&str, String)> = args
        .store
        .iter()
        .map(|url| ("store.url", url.clone()))
        .collect();
    let config = Config::load(args.config.config.as_deref(), std::env::vars(), &overrides)
        .map_err(Failure::usage)?;
    let api = args.api.as_deref().map(Api::new).transpose();
    let api = api.map_err(|error| Failure::usage(eyre!(error)))?;
    start_logging("warn");
    let verdict = block_on_verdict(args, plan, &config, api.as_ref())?;
    match verdict {
        Some(verdict) if !verdict.is_clean() => Err(Failure::Failed(eyre!(
            "{} accusations",
            verdict.n_accusations
        ))),
        _ => Ok(()),
    }
}

fn plan(args: &LoadArgs) -> Plan {
    Plan {
        speed: args.speed,
        seed: args.seed,
        prefix: args.prefix.clone(),
        scripts: args.scripts,
        mix: args.mix.clone(),
        leads: args.leads.clone(),
        bad: Bad {
            lose: args.lose,
            duplicate: args.duplicate,
            shuffle: args.shuffle,
            jitter: args.jitter,
            reboots: args.reboots,
            drift_ppm: args.drift,
        },
        watched: args.watch.min(args.devices),
        ..Plan::new(&args.broker, args.devices, args.seconds)
    }
}

fn block_on_verdict(
    args: &LoadArgs,
    plan: Plan,
    config: &Config,
    api: Option<&Api>,
) -> Result<Option<Verdict>, Failure> {
    let mut verdict = None;
    // One thread is enough for thousands of devices, and needs to wake no other.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.map_err(color_eyre::Report::from)?.block_on(async {
        // First, so that nothing is played that could not be verified.
        let store = if args.no_oracle {
            None
        } else {
            let store = Store::open(&config.store).await;
            Some(store.wrap_err("cannot open the database")?)
        };
        let ear = Ear::open(&plan, api).await.map_err(failure)?;
        let run = play(plan).await?;
        if let Some(store) = &store {
            let limit = Duration::from_secs_f64(args.settle);
            let left = settle(store, &run, api, limit).await;
            let left = left.wrap_err("cannot read the database")?;
            let witness = Witness {
                ear: Some(&ear),
                api,
            };
            let judged = verify(store, &run, config, witness).await;
            let judged = judged.wrap_err("cannot read the database")?;
            verdict = Some(Verdict { left, ..judged });
            store.close().await;
        }
        let latencies = match api {
            Some(_) => measure(&run, config, &ear),
            None => Vec::new(),
        };
        if args.json {
            let json = report::json(&run, verdict.as_ref(), &latencies);
            answer(format_args!("{json:#}\n"))
        } else {
            answer(report::text(&run, verdict.as_ref(), &latencies))
        }
    })?;
    Ok(verdict)
}

/// Plays until the end, or until a signal ends it early.
async fn play(plan: Plan) -> Result<Run, Failure> {
    let shutdown = on_signal().map_err(color_eyre::Report::from)?;
    let bar = progress("signals and connections made");
    let shown = bar.clone();
    let load = Load::start_with(plan, move |done, of| {
        shown.set_length(of as u64);
        shown.set_position(done as u64);
    })
    .await
    .map_err(failure)?;
    bar.finish_and_clear();
    let bar = progress("packets acknowledged");
    bar.set_length(load.progress().total);
    let stop = load.stopper();
    let state = load.watch();
    let mut finished = std::pin::pin!(load.finished());
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            run = &mut finished => {
                bar.finish_and_clear();
                return Ok(run);
            }
            _ = ticks.tick() => show(&bar, state.acked()),
            () = shutdown.cancelled(), if !stop.is_cancelled() => stop.cancel(),
        }
    }
}

fn show(bar: &ProgressBar, acked: u64) {
    bar.set_position(acked);
}

/// Tells a plan that cannot be from a broker that may come back.
fn failure(error: crate::load::Error) -> Failure {
    match error {
        crate::load::Error::Broker(_) => Failure::Failed(error.into()),
        error => Failure::usage(error),
    }
}
