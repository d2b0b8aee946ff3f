//! What came of a load, to read and as JSON.

use serde_json::{Value, json};

use super::latency::Latency;
use super::publish::Run;
use super::verify::{Accusation, Verdict};

/// Accusations that are shown to read; JSON has all that are kept.
const SHOWN: usize = 50;

/// To read.
pub fn text(run: &Run, verdict: Option<&Verdict>, latencies: &[Latency]) -> String {
    let mut out = String::new();
    let plan = &run.plan;
    let seconds = run.ended.seconds_since(run.began);
    let (published, acked) = (run.published(), run.acked());
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "load      {} devices, {} s of signal at {} times real time, {} scripts of {}",
        plan.devices,
        plan.seconds,
        plan.speed,
        run.courses.len(),
        plan.mix,
    ));
    line(format!(
        "packets   {published} published, {acked} acknowledged by the broker in {seconds:.1} s ({:.0} a second)",
        acked as f64 / seconds.max(1e-3),
    ));
    let disconnects: u32 = run.devices.iter().map(|log| log.disconnects).sum();
    let problems: Vec<&str> = run
        .devices
        .iter()
        .filter_map(|log| log.problem.as_deref())
        .collect();
    line(format!(
        "generator {}, latest packet {:.3} s late, {disconnects} connections broken, {} devices with problems",
        run.cpu_seconds
            .map_or("CPU time not known".to_owned(), |cpu| format!(
                "{cpu:.2} s of CPU, {:.1} us a packet",
                cpu * 1e6 / published.max(1) as f64
            )),
        run.latest_seconds,
        problems.len(),
    ));
    if let Some(problem) = problems.first() {
        line(format!("          such as: {problem}"));
    }
    for (k, latency) in latencies.iter().enumerate() {
        if k == 0 {
            line(format!(
                "latency   {:24}{:>8}{:>10}{:>10}{:>10}{:>10}{:>10}  unheard",
                "ms", "count", "p50", "p90", "p99", "p99.9", "max"
            ));
        }
        let at = |quantile| latency.quantile_ms(quantile);
        line(format!(
            "          {:24}{:>8}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>10.1}{:>9}",
            latency.what,
            latency.histogram.len(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            latency.max_ms(),
            latency.unheard,
        ));
    }
    if let Some(verdict) = verdict {
        append(&mut out, verdict);
    }
    out
}

fn append(out: &mut String, verdict: &Verdict) {
    let checked: Vec<String> = verdict
        .checked
        .iter()
        .map(|(what, n)| format!("{n} {what}"))
        .collect();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "checked   {} devices: {}",
        verdict.devices,
        checked.join(", ")
    ));
    if verdict.uncertain > 0 {
        line(format!(
            "          of {} of them more than one thing could have happened; the likeliest counts",
            verdict.uncertain
        ));
    }
    if let Some(left) = &verdict.left {
        line(format!(
            "          the service was not done in time: {left}; what is missing may yet come"
        ));
    }
    for (k, (what, truth)) in verdict.truth.iter().enumerate() {
        let title = if k == 0 { "truth" } else { "" };
        line(format!(
            "{title:10}{what}: {} happened, {} alarmed, {} not alarmed by the twin either",
            truth.happened, truth.alarmed, truth.not_by_twin
        ));
    }
    if verdict.is_clean() {
        line("verdict   every obligation is met, and no effect is without cause".to_owned());
        return;
    }
    line(format!("verdict   {} accusations", verdict.n_accusations));
    for ((fault, what), n) in verdict.summary() {
        line(format!("          {n} {} {what}", fault.name()));
    }
    for accusation in verdict.accusations.iter().take(SHOWN) {
        line(format!("  {accusation}"));
    }
    let more = verdict.n_accusations.saturating_sub(SHOWN as u64);
    if more > 0 {
        line(format!("  and {more} more"));
    }
}

/// As JSON.
pub fn json(run: &Run, verdict: Option<&Verdict>, latencies: &[Latency]) -> Value {
    let plan = &run.plan;
    json!({
        "task": "load",
        "plan": {
            "devices": plan.devices,
            "seconds": plan.seconds,
            "speed": plan.speed,
            "seed": plan.seed,
            "prefix": plan.prefix,
            "scripts": run.courses.len(),
            "mix": plan.mix.to_string(),
            "leads": plan.leads.iter().map(|lead| lead.name()).collect::<Vec<_>>(),
            "lose": plan.bad.lose,
            "duplicate": plan.bad.duplicate,
            "shuffle": plan.bad.shuffle,
            "jitter": plan.bad.jitter,
            "reboots_per_hour": plan.bad.reboots,
            "drift_ppm": plan.bad.drift_ppm,
        },
        "published": run.published(),
        "acknowledged": run.acked(),
        "wall_seconds": run.ended.seconds_since(run.began),
        "cpu_seconds": run.cpu_seconds,
        "cpu_us_per_packet": run.cpu_seconds.map(|cpu| cpu * 1e6 / run.published().max(1) as f64),
        "latest_seconds": run.latest_seconds,
        "disconnects": run.devices.iter().map(|log| log.disconnects).sum::<u32>(),
        "problems": run.devices.iter()
            .filter_map(|log| Some(json!({"device": log.device.as_str(), "problem": log.problem.as_ref()?})))
            .collect::<Vec<_>>(),
        "latencies_ms": latencies.iter().map(|latency| json!({
            "what": latency.what,
            "count": latency.histogram.len(),
            "p50": latency.quantile_ms(0.5),
            "p90": latency.quantile_ms(0.9),
            "p99": latency.quantile_ms(0.99),
            "p99_9": latency.quantile_ms(0.999),
            "max": latency.max_ms(),
            "unheard": latency.unheard,
        })).collect::<Vec<_>>(),
        "verdict": verdict.map(|verdict| json!({
            "clean": verdict.is_clean(),
            "devices": verdict.devices,
            "uncertain": verdict.uncertain,
            "not_done_in_time": verdict.left,
            "checked": verdict.checked,
            "truth": verdict.truth.iter().map(|(what, truth)| ((*what).to_owned(), json!({
                "happened": truth.happened,
                "alarmed": truth.alarmed,
                "not_by_twin": truth.not_by_twin,
            }))).collect::<serde_json::Map<_, _>>(),
            "n_accusations": verdict.n_accusations,
            "accusations": verdict.accusations.iter().map(accusation).collect::<Vec<_>>(),
        })),
    })
}

fn accusation(accusation: &Accusation) -> Value {
    json!({
        "fault": accusation.fault.name(),
        "what": accusation.what,
        "device": accusation.device.as_str(),
        "boot": accusation.boot.map(|boot| boot.0),
        "at": accusation.at,
        "detail": accusation.detail,
    })
}
