//! What the service counts, in the order of a sample's way. Names and help texts are here and
//! nowhere else; labels are bounded and never name a device.

use std::time::{Duration, Instant};

use ecg::Utc;
use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::health::Health;

/// Every metric of the service.
pub struct Metrics {
    registry: Registry,
    /// `ingest_packets_total`
    pub packets: IntCounter,
    /// `ingest_lost_packets_total{reason}`
    pub lost_packets: IntCounterVec,
    /// `ingest_unacked_packets`
    pub unacked: IntGauge,
    /// `ingest_connected`
    pub connected: IntGauge,
    /// `ingest_refused_topics_total`
    pub refused_topics: IntCounter,
    /// `ingest_disconnects_total{reason}`
    pub disconnects: IntCounterVec,
    /// `ingest_clock_events_total{event}`
    pub clock_events: IntCounterVec,
    /// `resequence_blocks_total`
    pub blocks: IntCounter,
    /// `resequence_gap_samples_total`
    pub gap_samples: IntCounter,
    /// `dsp_samples_total`
    pub samples: IntCounter,
    /// `dsp_beats_total`
    pub beats: IntCounter,
    /// `dsp_seconds_total`
    pub dsp_seconds: prometheus::Counter,
    /// `infer_windows_total`
    pub windows: IntCounter,
    /// `infer_shed_windows_total`
    pub shed_windows: IntCounter,
    /// `infer_failed_windows_total`
    pub failed_windows: IntCounter,
    /// `infer_withheld_windows_total{reason}`
    pub withheld_windows: IntCounterVec,
    /// `infer_pulses_total{outcome}`
    pub pulses: IntCounterVec,
    /// `infer_findings_total{source,name}`
    pub findings: IntCounterVec,
    /// `infer_seconds`
    pub infer_seconds: Histogram,
    /// `alarm_events_total{condition,priority,state}`
    pub alarm_events: IntCounterVec,
    /// `alarm_standing{priority}`
    pub standing: IntGaugeVec,
    /// `alarm_latency_seconds`
    pub alarm_latency: Histogram,
    /// `store_commits_total`
    pub commits: IntCounter,
    /// `store_rows_total{table}`
    pub rows: IntCounterVec,
    /// `store_failures_total`
    pub store_failures: IntCounter,
    /// `store_refused_total`
    pub store_refused: IntCounter,
    /// `store_commit_seconds`
    pub commit_seconds: Histogram,
    /// `http_requests_total{route,status}`
    pub requests: IntCounterVec,
    /// `live_subscribers`
    pub live_subscribers: IntGauge,
    /// `live_lagged_total`
    pub live_lagged: IntCounter,
    /// `devices_online`
    pub devices_online: IntGauge,
    /// `delivery_latency_seconds`
    pub delivery_latency: Histogram,
    /// `delivery_attempts_total{outcome}`
    pub delivery_attempts: IntCounterVec,
    /// `delivery_pending{subscriber}`
    pub delivery_pending: IntGaugeVec,
    /// `delivery_held{subscriber}`
    pub delivery_held: IntGaugeVec,
    /// `delivery_dead{subscriber}`
    pub delivery_dead: IntGaugeVec,
    /// `delivery_escalations_total{priority}`
    pub escalations: IntCounterVec,
    /// `delivery_mqtt_published_total`
    pub announced: IntCounter,
    /// `delivery_mqtt_failures_total`
    pub announce_failures: IntCounter,
    /// `delivery_oldest_seconds{subscriber}`
    pub delivery_oldest: GaugeVec,
    /// `service_ready{check}`
    pub ready: IntGaugeVec,
    /// `ingest_connections`
    pub connections: IntGauge,
    /// `ingest_messages_total`
    pub messages: IntCounter,
    /// `ingest_payload_bytes_total`
    pub payload_bytes: IntCounter,
    /// `ingest_acked_total`
    pub acked: IntCounter,
    /// `ingest_connects_total`
    pub connects: IntCounter,
    /// `ingest_parked_messages`
    pub parked: IntGauge,
    /// `channel_depth{channel}`
    pub depth: IntGaugeVec,
    /// `channel_capacity{channel}`
    pub capacity: IntGaugeVec,
    /// `stage_busy_seconds_total{stage}`
    pub busy: CounterVec,
    /// `stage_waiting_seconds_total{stage}`
    pub waiting: CounterVec,
    /// `stage_stalled_seconds{stage}`
    pub stalled: GaugeVec,
    /// `stage_oldest_seconds{stage}`
    pub oldest: GaugeVec,
    /// `retention_rows_total{table}`
    pub retention_rows: IntCounterVec,
    /// `retention_partitions_total`
    pub retention_partitions: IntCounter,
    /// `retention_partitions_missing`
    pub partitions_missing: IntGauge,
    /// `retention_success_seconds`
    pub retention_success: Gauge,
    /// `retention_failures_total`
    pub retention_failures: IntCounter,
}

fn set_to(gauge: &IntGauge, n: u64) {
    gauge.set(i64::try_from(n).unwrap_or(i64::MAX));
}

impl Metrics {
    /// Registers every metric in a registry of its own.
    ///
    /// # Errors
    /// A name used twice: a defect of this file.
    #[expect(clippy::too_many_lines, reason = "a table: one entry a metric")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let histogram = |name: &str, help: &str, from: f64| {
            // Thirteen buckets, each twice the one before.
            let buckets = prometheus::exponential_buckets(from, 2.0, 13)?;
            let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let standing = IntGaugeVec::new(
            Opts::new(
                "alarm_standing",
                "Alarms that are not cleared, by priority.",
            ),
            &["priority"],
        )?;
        registry.register(Box::new(standing.clone()))?;
        let dsp_seconds = prometheus::Counter::new(
            "dsp_seconds_total",
            "CPU seconds spent from packet to facts and alarms.",
        )?;
        registry.register(Box::new(dsp_seconds.clone()))?;
        // Memory, processor, files and start of this process; only Linux tells.
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let retention_success = Gauge::new(
            "retention_success_seconds",
            "Unix time of the last round of removing old rows that was completed.",
        )?;
        registry.register(Box::new(retention_success.clone()))?;
        let seconds = |name: &str, help: &str, label: &str| {
            let metric = GaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let seconds_total = |name: &str, help: &str| {
            let metric = CounterVec::new(Opts::new(name, help), &["stage"])?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let ready = gauges(
            "service_ready",
            "Whether what the service needs is there, as /readyz says: database, lease, broker.",
            &["check"],
        )?;
        for check in ["database", "lease", "broker"] {
            ready.with_label_values(&[check]).set(0);
        }
        Ok(Self {
            packets: counter("ingest_packets_total", "Packets received over MQTT.")?,
            lost_packets: counters(
                "ingest_lost_packets_total",
                "Packets that were dropped, by reason: malformed ones, duplicates, late ones.",
                &["reason"],
            )?,
            unacked: gauge(
                "ingest_unacked_packets",
                "Packets whose effects are not all durable yet; the broker holds them.",
            )?,
            connected: gauge("ingest_connected", "MQTT connections that stand.")?,
            refused_topics: counter(
                "ingest_refused_topics_total",
                "Messages on topics that are none of the wire format: acknowledged and dropped.",
            )?,
            disconnects: counters(
                "ingest_disconnects_total",
                "MQTT connections that ended or failed, by reason.",
                &["reason"],
            )?,
            clock_events: counters(
                "ingest_clock_events_total",
                "Device clocks that jumped or were not believed.",
                &["event"],
            )?,
            blocks: counter("resequence_blocks_total", "Blocks put in order.")?,
            gap_samples: counter(
                "resequence_gap_samples_total",
                "Samples that never came, at each record's base rate.",
            )?,
            samples: counter("dsp_samples_total", "Samples filtered, all signals.")?,
            beats: counter(
                "dsp_beats_total",
                "Beats found in ECG and pulses found in PPG.",
            )?,
            dsp_seconds,
            windows: counter("infer_windows_total", "Windows completed to twelve leads.")?,
            shed_windows: counter(
                "infer_shed_windows_total",
                "Windows displaced by a newer one of the same device before their turn.",
            )?,
            failed_windows: counter("infer_failed_windows_total", "Windows a model refused.")?,
            withheld_windows: counters(
                "infer_withheld_windows_total",
                "Windows whose missing leads were not reconstructed, by reason.",
                &["reason"],
            )?,
            pulses: counters(
                "infer_pulses_total",
                "Stretches of pulse waves, by whether they could tell a rhythm.",
                &["outcome"],
            )?,
            findings: counters(
                "infer_findings_total",
                "Episodes of findings that began, by who says so and what.",
                &["source", "name"],
            )?,
            infer_seconds: histogram(
                "infer_seconds",
                "From a window's completion to its twelve leads and findings.",
                0.0005,
            )?,
            alarm_events: counters(
                "alarm_events_total",
                "Steps in the life of alarms, by what they are and the state entered.",
                &["condition", "priority", "state"],
            )?,
            standing,
            alarm_latency: histogram(
                "alarm_latency_seconds",
                "From the arrival of the sample that satisfied a condition to its event on disk.",
                0.005,
            )?,
            commits: counter("store_commits_total", "Transactions committed.")?,
            rows: counters("store_rows_total", "Rows committed, by table.", &["table"])?,
            store_failures: counter(
                "store_failures_total",
                "Transactions that failed and were tried again.",
            )?,
            store_refused: counter(
                "store_refused_total",
                "Commits of one device that the database refused for good and that were dropped.",
            )?,
            commit_seconds: histogram(
                "store_commit_seconds",
                "Duration of a transaction.",
                0.0005,
            )?,
            requests: counters(
                "http_requests_total",
                "HTTP requests, by route and status.",
                &["route", "status"],
            )?,
            live_subscribers: gauge("live_subscribers", "Open live streams.")?,
            live_lagged: counter(
                "live_lagged_total",
                "Live events that slow subscribers missed; they are told so.",
            )?,
            devices_online: gauge("devices_online", "Devices that have sent data lately.")?,
            delivery_latency: histogram(
                "delivery_latency_seconds",
                "From a message's commit to the receiver's 2xx.",
                0.005,
            )?,
            delivery_attempts: counters(
                "delivery_attempts_total",
                "Attempts to deliver a message to a webhook, by outcome.",
                &["outcome"],
            )?,
            delivery_pending: gauges(
                "delivery_pending",
                "Messages that a subscriber is still to get.",
                &["subscriber"],
            )?,
            delivery_held: gauges(
                "delivery_held",
                "Messages that wait for the end of a pause.",
                &["subscriber"],
            )?,
            delivery_dead: gauges(
                "delivery_dead",
                "Messages that were given up and are still kept.",
                &["subscriber"],
            )?,
            escalations: counters(
                "delivery_escalations_total",
                "Alarms that nobody acknowledged in time, once for each level.",
                &["priority"],
            )?,
            announced: counter(
                "delivery_mqtt_published_total",
                "Sets of open alarms that the broker has taken.",
            )?,
            announce_failures: counter(
                "delivery_mqtt_failures_total",
                "Sets of open alarms that the broker has refused.",
            )?,
            delivery_oldest: seconds(
                "delivery_oldest_seconds",
                "Age of the oldest message that a subscriber is still to get.",
                "subscriber",
            )?,
            ready,
            connections: gauge(
                "ingest_connections",
                "MQTT connections that there should be.",
            )?,
            messages: counter(
                "ingest_messages_total",
                "MQTT messages received, those sent again included.",
            )?,
            payload_bytes: counter("ingest_payload_bytes_total", "Bytes in them.")?,
            acked: counter(
                "ingest_acked_total",
                "MQTT messages acknowledged: all that they say is durable.",
            )?,
            connects: counter("ingest_connects_total", "MQTT connections made.")?,
            parked: gauge(
                "ingest_parked_messages",
                "MQTT messages that wait in memory for the pipeline.",
            )?,
            depth: gauges("channel_depth", "What is in a channel.", &["channel"])?,
            capacity: gauges("channel_capacity", "What fits in a channel.", &["channel"])?,
            busy: seconds_total("stage_busy_seconds_total", "How long a stage has worked.")?,
            waiting: seconds_total(
                "stage_waiting_seconds_total",
                "How long a stage has waited for the one behind it or for the database.",
            )?,
            stalled: seconds(
                "stage_stalled_seconds",
                "How long a stage has not got on although it had something to do; 0 where it does.",
                "stage",
            )?,
            oldest: seconds(
                "stage_oldest_seconds",
                "Age of the oldest of what a stage has not finished: of a shard, the oldest packet that is not \
                 acknowledged; of persist, the oldest packet whose rows are being committed.",
                "stage",
            )?,
            retention_rows: counters(
                "retention_rows_total",
                "Rows removed because they were older than the settings say, by table.",
                &["table"],
            )?,
            retention_partitions: counter(
                "retention_partitions_total",
                "Days of beats dropped because they were older than the settings say.",
            )?,
            partitions_missing: gauge(
                "retention_partitions_missing",
                "Days of the next week that have no partition; their beats go to the default one.",
            )?,
            retention_success,
            retention_failures: counter(
                "retention_failures_total",
                "Rounds of removing old rows that failed and are tried again.",
            )?,
            registry,
        })
    }

    /// Takes over what the broker waits for at the moment.
    pub fn observe_unacked(&self, monitor: &ingest::mqtt::Monitor) {
        set_to(&self.unacked, monitor.counts().unacked);
    }

    /// Takes over what the MQTT client counts by itself. To be called by one task only.
    pub fn observe_broker(&self, monitor: &ingest::mqtt::Monitor) {
        use ingest::mqtt::{Loss, State};
        let counts = monitor.counts();
        let catch_up = |counter: &IntCounter, total: u64| {
            counter.inc_by(total.saturating_sub(counter.get()));
        };
        catch_up(&self.refused_topics, counts.refused_topics);
        catch_up(&self.messages, counts.messages);
        catch_up(&self.payload_bytes, counts.payload_bytes);
        catch_up(&self.acked, counts.acked);
        catch_up(&self.connects, counts.connects);
        set_to(&self.parked, counts.parked);
        set_to(&self.unacked, counts.unacked);
        for (loss, total) in Loss::ALL.into_iter().zip(counts.losses) {
            catch_up(&self.disconnects.with_label_values(&[loss.name()]), total);
        }
        let states = monitor.watch();
        let up = |state: &&State| matches!(state, State::Connected { .. });
        let n_up = states.borrow().iter().filter(up).count();
        set_to(&self.connected, n_up as u64);
        set_to(&self.connections, states.borrow().len() as u64);
    }

    /// Whether something is there that the service needs.
    pub fn set_ready(&self, check: &str, is_ready: bool) {
        self.ready
            .with_label_values(&[check])
            .set(i64::from(is_ready));
    }

    /// Sees how stages and channels stand. To be called once a second, by one task only.
    pub fn observe_health(&self, health: &Health, now: Instant) {
        let catch_up = |counter: prometheus::Counter, total: Duration| {
            counter.inc_by((total.as_secs_f64() - counter.get()).max(0.0));
        };
        for view in health.look(now) {
            let label = &[view.name.as_str()];
            catch_up(self.busy.with_label_values(label), view.busy);
            catch_up(self.waiting.with_label_values(label), view.waiting);
            self.stalled
                .with_label_values(label)
                .set(view.stalled.as_secs_f64());
            self.oldest
                .with_label_values(label)
                .set(view.oldest.as_secs_f64());
        }
        let set = |gauge: &IntGaugeVec, name: &str, n: usize| {
            let n = i64::try_from(n).unwrap_or(i64::MAX);
            gauge.with_label_values(&[name]).set(n);
        };
        for (name, depth, capacity) in health.channels() {
            set(&self.depth, name, depth);
            set(&self.capacity, name, capacity);
        }
    }

    /// Takes over how much a subscriber has not got.
    pub fn observe_backlog(&self, backlog: &store::Backlog, now: Utc) {
        let subscriber = backlog.subscriber.to_string();
        for (gauge, value) in [
            (&self.delivery_pending, backlog.pending),
            (&self.delivery_held, backlog.held),
            (&self.delivery_dead, backlog.dead),
        ] {
            gauge.with_label_values(&[&subscriber]).set(value);
        }
        let oldest = backlog
            .oldest
            .map_or(0.0, |oldest| now.seconds_since(oldest));
        self.delivery_oldest
            .with_label_values(&[&subscriber])
            .set(oldest.max(0.0));
    }

    /// Forgets a subscriber who is gone.
    pub fn forget_subscriber(&self, id: uuid::Uuid) {
        self.delivery_oldest
            .remove_label_values(&[&id.to_string()])
            .ok();
        for gauge in [
            &self.delivery_pending,
            &self.delivery_held,
            &self.delivery_dead,
        ] {
            // An error says that nothing was counted of it.
            gauge.remove_label_values(&[&id.to_string()]).ok();
        }
    }

    /// The registry in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("# {error}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_and_shows() {
        let metrics = Metrics::new().unwrap();
        metrics.packets.inc();
        metrics.lost_packets.with_label_values(&["duplicate"]).inc();
        let text = metrics.text();
        assert!(text.contains("ingest_packets_total 1"), "{text}");
        assert!(
            text.contains("ingest_lost_packets_total{reason=\"duplicate\"} 1"),
            "{text}"
        );
        assert!(text.contains("alarm_latency_seconds_bucket"), "{text}");
    }
}
