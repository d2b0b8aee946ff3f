//! `replay`: a recording published as a wearable would, faster if wanted, worse if wanted.

use std::collections::VecDeque;
use std::time::Duration;

use color_eyre::eyre::{WrapErr, eyre};
use ecg::{BootId, DeviceId};
use indicatif::{ProgressBar, ProgressStyle};
use ingest::mqtt::{Publisher, PublisherConfig};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::annotate::device_name;
use super::{Failure, ReplayArgs, answer, block_on, on_signal, start_logging};
use crate::record::{Player, Record};
use crate::wall;
use crate::wearable::Played;

/// Publishes one record.
pub(super) fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let refuse = |what: &str, value: f64, range: &str| {
        Failure::usage(eyre!("{what} is {value}, where {range} is allowed"))
    };
    if !(args.speed > 0.0 && args.speed <= 10_000.0) {
        return Err(refuse("--speed", args.speed, "more than 0 to 10000"));
    }
    for (what, share) in [("--duplicate", args.duplicate), ("--lose", args.lose)] {
        if !(0.0..=1.0).contains(&share) {
            return Err(refuse(what, share, "0 to 1"));
        }
    }
    let record = Record::open(&args.record).map_err(Failure::usage)?;
    let name = args
        .device
        .clone()
        .unwrap_or_else(|| device_name(&record.name));
    let device: DeviceId = name.parse().map_err(Failure::usage)?;
    let player = Player::new(record, &args.leads).map_err(Failure::usage)?;
    start_logging("warn");
    for passed_over in player.passed_over() {
        tracing::warn!(
            signal = passed_over.name,
            reason = passed_over.reason,
            "signal not sent"
        );
    }
    block_on(async { publish(args, player, device).await })
}

/// The order in which packets leave: those of a good link, or of a bad one.
struct Link {
    rng: StdRng,
    shuffle: usize,
    duplicate: f64,
    lose: f64,
    waiting: Vec<Vec<u8>>,
    ready: VecDeque<Vec<u8>>,
}

impl Link {
    fn push(&mut self, payload: Vec<u8>) {
        if self.rng.random_bool(self.lose) {
            return;
        }
        if self.rng.random_bool(self.duplicate) {
            self.waiting.push(payload.clone());
        }
        self.waiting.push(payload);
        if self.waiting.len() >= self.shuffle {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.waiting.shuffle(&mut self.rng);
        self.ready.extend(self.waiting.drain(..));
    }
}

async fn publish(args: &ReplayArgs, player: Player, device: DeviceId) -> Result<(), Failure> {
    let shutdown = on_signal().map_err(color_eyre::Report::from)?;
    let seconds = player.seconds().min(args.seconds.unwrap_or(f64::INFINITY));
    let step = player.block_seconds();
    let n_samples = player.layout().base_rate().count(seconds).0;
    // The last sample is taken when it is sent: a device that is faster than time starts in the past.
    let start = wall::utc().plus_seconds(seconds / args.speed - seconds);
    let boot = BootId(args.boot.unwrap_or_else(rand::random));
    let played = Played::new(player, boot, start).map_err(Failure::usage)?;
    let mut publisher = Publisher::connect(PublisherConfig::new(&args.broker), &device)
        .await
        .wrap_err_with(|| format!("cannot publish to {}", args.broker))?;
    let mut link = Link {
        rng: StdRng::seed_from_u64(args.seed),
        shuffle: args.shuffle.max(1),
        duplicate: args.duplicate,
        lose: args.lose,
        waiting: Vec::new(),
        ready: VecDeque::new(),
    };
    let progress = progress(n_samples);
    let period = Duration::from_secs_f64(step / args.speed);
    let mut ticks = tokio::time::interval(period.max(Duration::from_micros(100)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut n_packets = 0u64;
    for packet in played {
        let packet = packet.map_err(color_eyre::Report::from)?;
        if packet.first_sample.0 >= n_samples {
            break;
        }
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.cancelled() => break,
        }
        link.push(packet.encode());
        progress.set_position(packet.end().0);
        while let Some(payload) = link.ready.pop_front() {
            publisher
                .publish(payload)
                .await
                .map_err(color_eyre::Report::from)?;
            n_packets += 1;
        }
    }
    link.flush();
    for payload in link.ready {
        publisher
            .publish(payload)
            .await
            .map_err(color_eyre::Report::from)?;
        n_packets += 1;
    }
    publisher
        .close()
        .await
        .wrap_err("the broker did not acknowledge every packet")?;
    progress.finish();
    answer(format_args!(
        "{device}: {n_packets} packets acknowledged by the broker, boot {}\n",
        boot.0
    ))
}

/// Hidden where standard error is no terminal.
fn progress(n_samples: u64) -> ProgressBar {
    let bar = ProgressBar::new(n_samples);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {percent} % of the record, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}
