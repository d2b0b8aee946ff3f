//! Writes a message for each alarm that nobody acknowledges in time, and keeps house in the outbox.
//!
//! Decided from the database alone, so a restart neither forgets an escalation nor repeats one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ecg::{Priority, Utc};
use store::{EscalationRule, Store};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::delivery::{Config, Outgoing};
use crate::live::{LiveBus, LiveEvent};
use crate::metrics::Metrics;
use crate::wall;

/// How often to look, at most.
const TICK: Duration = Duration::from_secs(1);
/// How often old messages are removed, in ticks.
const SWEEP: u32 = 600;
/// How often the backlog is counted, in ticks.
const COUNT: u32 = 2;

/// What the stage works with.
pub struct Escalate {
    /// When to escalate.
    pub config: Config,
    /// Where alarms are.
    pub store: Store,
    /// Who is to hear of it, and whose pause is over.
    pub outgoing: Arc<Outgoing>,
    /// Pages hear of it too.
    pub live: LiveBus,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends it.
    pub shutdown: CancellationToken,
}

/// Which alarms are due at `now`.
fn rules(config: &Config, now: Utc) -> Vec<EscalationRule> {
    let escalation = &config.escalation;
    [
        (Priority::High, escalation.high),
        (Priority::Medium, escalation.medium),
    ]
    .into_iter()
    .filter(|(_, delay)| !delay.is_zero() && escalation.levels > 0)
    .map(|(priority, delay)| EscalationRule {
        priority,
        before: now.plus_seconds(-delay.as_secs_f64()),
    })
    .collect()
}

impl Escalate {
    /// Runs until shutdown.
    pub async fn run(self) {
        let shortest = [self.config.escalation.high, self.config.escalation.medium];
        let shortest = shortest.into_iter().filter(|delay| !delay.is_zero()).min();
        let tick = shortest.map_or(TICK, |delay| (delay / 4).max(TICK / 20).min(TICK));
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut n, mut is_failing, mut counted) = (0u32, false, HashSet::new());
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.shutdown.cancelled() => return,
            }
            self.end_pauses();
            let tick = self.tick(n, &mut counted);
            let Some(done) = self.shutdown.run_until_cancelled(tick).await else {
                return;
            };
            match done {
                Ok(()) => is_failing = false,
                Err(error) => {
                    if !is_failing {
                        tracing::warn!(%error, "escalation waits for the database");
                    }
                    is_failing = true;
                }
            }
            n = n.wrapping_add(1);
        }
    }

    /// Tells of pauses that are over.
    fn end_pauses(&self) {
        let ended = self.outgoing.ended(wall::utc());
        for device in &ended {
            let device = device.clone();
            self.live.publish(LiveEvent::Pause {
                device,
                until: None,
                by: None,
            });
        }
        if !ended.is_empty() {
            self.outgoing.ring(ended);
        }
    }

    async fn tick(&self, n: u32, counted: &mut HashSet<Uuid>) -> Result<(), store::Error> {
        let now = wall::utc();
        let rules = rules(&self.config, now);
        let levels = self.config.escalation.levels;
        let escalated = self.store.escalate(&rules, levels, now).await?;
        for message in &escalated {
            let device = &message.record.device;
            let priority = message.priority.name();
            tracing::warn!(%device, alarm = %message.alarm, priority, level = message.level, "alarm escalated");
            self.metrics
                .escalations
                .with_label_values(&[priority])
                .inc();
            self.live.publish(LiveEvent::Alarm {
                device: device.clone(),
                alarm: message.alarm,
            });
            self.live.publish(LiveEvent::Escalated {
                device: device.clone(),
                alarm: message.alarm,
                level: message.level,
                at: message.utc,
            });
        }
        if !escalated.is_empty() {
            let devices = escalated.into_iter().map(|message| message.record.device);
            self.outgoing.ring(devices);
        }
        if n.is_multiple_of(COUNT) {
            let backlogs = self.store.backlog().await?;
            let known = backlogs.iter().map(|backlog| backlog.subscriber).collect();
            for gone in counted.difference(&known) {
                self.metrics.forget_subscriber(*gone);
            }
            *counted = known;
            for backlog in &backlogs {
                self.metrics.observe_backlog(backlog, now);
            }
        }
        if n.is_multiple_of(SWEEP) {
            let before = now.plus_seconds(-self.config.retention.as_secs_f64());
            let removed = self.store.sweep_outbox(before).await?;
            tracing::debug!(removed, "old messages removed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config as Settings;

    #[test]
    fn a_priority_without_a_delay_is_never_escalated() {
        let mut config = Settings::load(None, [], &[]).unwrap().delivery;
        let now = Utc(1_000_000_000);
        let found = rules(&config, now);
        let before: Vec<_> = found.iter().map(|r| (r.priority, r.before)).collect();
        let expected = [
            (Priority::High, Utc(940_000_000)),
            (Priority::Medium, Utc(700_000_000)),
        ];
        assert_eq!(before, expected);
        config.escalation.medium = Duration::ZERO;
        assert_eq!(rules(&config, now).len(), 1);
        config.escalation.levels = 0;
        assert_eq!(rules(&config, now), []);
    }
}
