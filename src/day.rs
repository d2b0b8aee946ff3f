//! A day of a patient in numbers: signal, rates, beats, findings, alarms, whatever devices were worn.
//!
//! Everything is counted by minutes of UTC. Where a patient wears several devices at once, each minute counts the one of
//! which most was usable, so that no beat is counted twice. What several say of the same name at the same time is one
//! episode. Minutes belong to the day in which they begin, episodes are cut at midnight.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use ecg::{Anchor, DeviceId, RecordId, SampleIndex, Trend, Utc};
use store::{AlarmTimes, BeatCount, EpisodeSpan, HeldBack, PatientId, RecordRow, Store, Worn};

/// Microseconds of a minute.
const MINUTE: i64 = 60_000_000;

/// What was seen of a patient in a minute.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Minute {
    /// Seconds of signal, usable or not.
    pub signal_seconds: f64,
    /// Signal-seconds judged usable.
    pub usable: u32,
    /// Signal-seconds judged unusable.
    pub unusable: u32,
    /// How many rates were seen.
    pub n_rates: u32,
    /// Their sum, beats per minute.
    pub rate_sum: f64,
    /// The lowest rate, and when the minute of it begins.
    pub lowest: Option<(f32, Utc)>,
    /// The highest rate, and when the minute of it begins.
    pub highest: Option<(f32, Utc)>,
    /// Beats of class N, S, V, F, Q.
    pub beats: [u64; 5],
    /// Beats that nothing has classified.
    pub unclassified: u64,
}

impl Minute {
    /// All of its beats.
    pub fn n_beats(&self) -> u64 {
        self.beats.iter().sum::<u64>() + self.unclassified
    }

    /// The mean rate, beats per minute.
    pub fn rate_mean(&self) -> Option<f64> {
        (self.n_rates > 0).then(|| self.rate_sum / f64::from(self.n_rates))
    }

    /// Adds a minute of a record with so many signals.
    fn trend(&mut self, trend: &Trend, n_signals: usize) {
        let (usable, unusable) = (trend.usable_seconds, trend.unusable_seconds);
        let seconds = (f64::from(usable) + f64::from(unusable)) / n_signals.max(1) as f64;
        self.signal_seconds = (self.signal_seconds + seconds).min(60.0);
        self.usable = self.usable.saturating_add(usable);
        self.unusable = self.unusable.saturating_add(unusable);
        if trend.n_rates > 0 {
            self.n_rates = self.n_rates.saturating_add(trend.n_rates);
            self.rate_sum += trend.rate_sum;
            self.lowest = lower(self.lowest, Some((trend.rate_min, trend.start)));
            self.highest = higher(self.highest, Some((trend.rate_max, trend.start)));
        }
    }

    fn count(&mut self, count: &BeatCount) {
        match count.class {
            Some(class) => self.beats[class.index()] += u64::from(count.n),
            None => self.unclassified += u64::from(count.n),
        }
    }

    fn add(&mut self, other: &Self) {
        self.signal_seconds += other.signal_seconds;
        self.usable = self.usable.saturating_add(other.usable);
        self.unusable = self.unusable.saturating_add(other.unusable);
        self.n_rates = self.n_rates.saturating_add(other.n_rates);
        self.rate_sum += other.rate_sum;
        self.lowest = lower(self.lowest, other.lowest);
        self.highest = higher(self.highest, other.highest);
        for (sum, n) in self.beats.iter_mut().zip(other.beats) {
            *sum += n;
        }
        self.unclassified += other.unclassified;
    }
}

/// The lower of two rates, the earlier where they are the same.
fn lower(a: Option<(f32, Utc)>, b: Option<(f32, Utc)>) -> Option<(f32, Utc)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.0 < a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// The higher of two rates, the earlier where they are the same.
fn higher(a: Option<(f32, Utc)>, b: Option<(f32, Utc)>) -> Option<(f32, Utc)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.0 > a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// Minutes by how many have passed since 1970-01-01 UTC.
pub type Minutes = BTreeMap<i64, Minute>;

/// Signal that never came.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Gaps {
    /// How often.
    pub n: usize,
    /// For how long altogether.
    pub seconds: f64,
    /// The longest.
    pub longest_seconds: f64,
}

/// How much of a day something was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Burden {
    /// What, in a word.
    pub name: String,
    /// What, for people.
    pub text: String,
    /// How often.
    pub episodes: usize,
    /// For how long altogether.
    pub seconds: f64,
    /// The longest.
    pub longest_seconds: f64,
    /// Per cent of the day's signal.
    pub percent: Option<f64>,
}

/// Alarms of one condition and priority.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmCount {
    /// What was wrong.
    pub condition: ecg::Condition,
    /// How soon somebody had to act.
    pub priority: ecg::Priority,
    /// How many are in each state, in the order of [`ecg::AlarmState::ALL`].
    pub by_state: [usize; 4],
    /// How many more were held back and never raised.
    pub held_back: usize,
    /// How many were acknowledged.
    pub acknowledged: usize,
    /// The median time from raised to acknowledged.
    pub median_seconds: Option<f64>,
}

/// A day of a patient.
#[derive(Debug, Clone, PartialEq)]
pub struct Day {
    /// From when to when.
    pub span: Range<Utc>,
    /// What was worn.
    pub worn: Vec<Worn>,
    /// The sum of its minutes.
    pub total: Minute,
    /// Signal that never came, within records.
    pub gaps: Gaps,
    /// What was found, the longest first.
    pub findings: Vec<Burden>,
    /// The alarms, the most severe first.
    pub alarms: Vec<AlarmCount>,
    /// The median time to acknowledgement of all of them.
    pub median_seconds: Option<f64>,
}

impl Day {
    /// Sums up. Gaps and episodes may overlap and reach beyond the day.
    pub fn new(
        span: Range<Utc>,
        worn: Vec<Worn>,
        minutes: &Minutes,
        gaps: &[Range<Utc>],
        episodes: Vec<EpisodeSpan>,
        alarms: &[AlarmTimes],
        held_back: &[HeldBack],
    ) -> Self {
        let mut total = Minute::default();
        for minute in minutes.values() {
            total.add(minute);
        }
        let gaps = Sum::of(gaps, &span);
        let mut by_name: BTreeMap<String, (String, Vec<Range<Utc>>)> = BTreeMap::new();
        for episode in episodes {
            let place = by_name.entry(episode.name);
            let (_, spans) = place.or_insert((episode.text, Vec::new()));
            spans.push(episode.span);
        }
        let mut findings: Vec<Burden> = by_name
            .into_iter()
            .map(|(name, (text, spans))| {
                let sum = Sum::of(&spans, &span);
                let of_signal = 100.0 * sum.seconds / total.signal_seconds;
                Burden {
                    name,
                    text,
                    episodes: sum.n,
                    seconds: sum.seconds,
                    longest_seconds: sum.longest,
                    // Windows reach a little beyond the seconds that are judged.
                    percent: (total.signal_seconds > 0.0).then(|| of_signal.min(100.0)),
                }
            })
            .filter(|burden| burden.episodes > 0)
            .collect();
        findings.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Self {
            span,
            worn,
            total,
            gaps: Gaps {
                n: gaps.n,
                seconds: gaps.seconds,
                longest_seconds: gaps.longest,
            },
            findings,
            alarms: count(alarms, held_back),
            median_seconds: median_seconds(alarms.iter()),
        }
    }

    /// A day as it is in the database.
    ///
    /// # Errors
    /// What the database says.
    pub async fn read(
        store: &Store,
        patient: &PatientId,
        span: Range<Utc>,
    ) -> Result<Self, store::Error> {
        let worn = store.worn(patient, span.clone()).await?;
        let records = records(store, &worn).await?;
        let minutes = minutes(store, &worn, &records).await?;
        let (mut gaps, mut episodes, mut held_back) = (Vec::new(), Vec::new(), Vec::new());
        for Worn { device, span } in &worn {
            for row in records.values().filter(|row| row.record.device == *device) {
                if row.updated < span.start {
                    continue;
                }
                let within = index_at(&row.anchor, span.start)..index_at(&row.anchor, span.end);
                for gap in store.gaps_in(&row.record, within).await? {
                    let gap = row.anchor.utc(gap.start)..row.anchor.utc(gap.end);
                    gaps.push(common(&gap, span));
                }
            }
            for mut episode in store.episode_spans(device, span.clone()).await? {
                episode.span = common(&episode.span, span);
                episodes.push(episode);
            }
            held_back.extend(store.held_back(device, span.clone()).await?);
        }
        let alarms = store.alarm_times(patient, span.clone()).await?;
        Ok(Self::new(
            span, worn, &minutes, &gaps, episodes, &alarms, &held_back,
        ))
    }
}

/// The first minutes of a patient that can be used, at most `most`, from the first minute of signal on.
///
/// # Errors
/// What the database says.
pub async fn first_minutes(
    store: &Store,
    patient: &PatientId,
    now: Utc,
    most: usize,
    usable: impl Fn(&Minute) -> bool,
) -> Result<Minutes, store::Error> {
    /// A day of signal is found in so many days with any, or not at all.
    const MAX_DAYS: usize = 60;
    let worn = store.worn(patient, Utc(i64::MIN)..now).await?;
    let records = records(store, &worn).await?;
    let mut found = Minutes::new();
    let mut from = Utc(i64::MIN);
    for _ in 0..MAX_DAYS {
        let mut first: Option<Utc> = None;
        for Worn { device, span } in &worn {
            let rest = span.start.max(from)..span.end;
            if rest.start < rest.end
                && let Some(at) = store.first_minute(device, rest).await?
            {
                first = Some(first.map_or(at, |known| known.min(at)));
            }
        }
        let Some(first) = first else { break };
        let window = first..first.plus_seconds(86_400.0);
        let of_window = worn.iter().map(|worn| Worn {
            device: worn.device.clone(),
            span: common(&worn.span, &window),
        });
        let of_window: Vec<Worn> = of_window.filter(|worn| !worn.span.is_empty()).collect();
        for (at, minute) in minutes(store, &of_window, &records).await? {
            if usable(&minute) && found.len() < most {
                found.insert(at, minute);
            }
        }
        if found.len() >= most {
            break;
        }
        from = window.end;
    }
    Ok(found)
}

type Records = HashMap<RecordId, RecordRow>;

/// The records of what was worn.
async fn records(store: &Store, worn: &[Worn]) -> Result<Records, store::Error> {
    let mut records = Records::new();
    let mut devices: Vec<&DeviceId> = worn.iter().map(|worn| &worn.device).collect();
    devices.sort();
    devices.dedup();
    for device in devices {
        let rows = store.records(device).await?;
        records.extend(rows.into_iter().map(|row| (row.record.clone(), row)));
    }
    Ok(records)
}

/// What was seen minute by minute, of the best device each.
async fn minutes(store: &Store, worn: &[Worn], records: &Records) -> Result<Minutes, store::Error> {
    let mut by_device: BTreeMap<(i64, &DeviceId), Minute> = BTreeMap::new();
    for Worn { device, span } in worn {
        for trend in store.trends(device, span.clone()).await? {
            let n_signals = records
                .get(&trend.record)
                .map_or(1, |row| row.layout.iter().count());
            let place = by_device.entry((trend.start.0.div_euclid(MINUTE), device));
            place.or_default().trend(&trend, n_signals);
        }
        for count in store.beats_by_minute(device, span.clone()).await? {
            let place = by_device.entry((count.minute, device));
            place.or_default().count(&count);
        }
    }
    Ok(best(by_device))
}

/// Of each minute, what the device with the most usable signal saw.
fn best(by_device: BTreeMap<(i64, &DeviceId), Minute>) -> Minutes {
    let mut best = Minutes::new();
    for ((at, _), minute) in by_device {
        match best.get(&at) {
            Some(known) if (known.usable, known.n_beats()) >= (minute.usable, minute.n_beats()) => {
            }
            _ => {
                best.insert(at, minute);
            }
        }
    }
    best
}

/// The sample at an instant, by the anchor.
fn index_at(anchor: &Anchor, at: Utc) -> SampleIndex {
    let index = anchor.index.0 as f64 + at.seconds_since(anchor.utc) * anchor.hz;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float to integer casts saturate"
    )]
    SampleIndex(index.round() as u64)
}

/// What two spans have in common, which may be nothing.
fn common(a: &Range<Utc>, b: &Range<Utc>) -> Range<Utc> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// How many spans there are when those that overlap or touch are one, and how long they are.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Sum {
    n: usize,
    seconds: f64,
    longest: f64,
}

impl Sum {
    fn of(spans: &[Range<Utc>], within: &Range<Utc>) -> Self {
        let spans = spans.iter().map(|span| common(span, within));
        let mut spans: Vec<_> = spans.filter(|span| !span.is_empty()).collect();
        spans.sort_by_key(|span| (span.start, span.end));
        let mut merged: Vec<Range<Utc>> = Vec::new();
        for span in spans {
            match merged.last_mut() {
                Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
                _ => merged.push(span),
            }
        }
        let mut sum = Self::default();
        for span in merged {
            let seconds = span.end.seconds_since(span.start);
            sum.n += 1;
            sum.seconds += seconds;
            sum.longest = sum.longest.max(seconds);
        }
        sum
    }
}

fn count(alarms: &[AlarmTimes], held_back: &[HeldBack]) -> Vec<AlarmCount> {
    // High before medium before low.
    let key = |condition, priority| (condition, std::cmp::Reverse(priority));
    let mut groups: BTreeMap<_, (Vec<&AlarmTimes>, usize)> = BTreeMap::new();
    for alarm in alarms {
        let group = groups.entry(key(alarm.condition, alarm.priority));
        group.or_default().0.push(alarm);
    }
    for HeldBack {
        condition,
        priority,
        n,
    } in held_back
    {
        groups.entry(key(*condition, *priority)).or_default().1 += *n as usize;
    }
    let counts = groups
        .into_iter()
        .map(|((condition, priority), (group, held_back))| {
            let mut by_state = [0; 4];
            for alarm in &group {
                by_state[alarm.state as usize] += 1;
            }
            AlarmCount {
                condition,
                priority: priority.0,
                by_state,
                held_back,
                acknowledged: group.iter().filter(|a| a.acknowledged.is_some()).count(),
                median_seconds: median_seconds(group.into_iter()),
            }
        });
    counts.collect()
}

/// The median time from raised to acknowledged; clocks may differ, so never less than zero.
fn median_seconds<'a>(alarms: impl Iterator<Item = &'a AlarmTimes>) -> Option<f64> {
    let mut seconds: Vec<f64> = alarms
        .filter_map(|alarm| Some(alarm.acknowledged?.seconds_since(alarm.raised).max(0.0)))
        .collect();
    seconds.sort_by(f64::total_cmp);
    let middle = seconds.len() / 2;
    let upper = *seconds.get(middle)?;
    if seconds.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *seconds.get(middle.checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{AlarmState, Condition, Priority};

    fn at(seconds: i64) -> Utc {
        Utc(seconds * 1_000_000)
    }

    fn episode(name: &str, from: i64, to: i64) -> EpisodeSpan {
        EpisodeSpan {
            name: name.to_owned(),
            text: name.to_owned(),
            span: at(from)..at(to),
        }
    }

    #[test]
    fn episodes_are_cut_at_midnight_and_counted_once_each() {
        let minutes: Minutes = (0..10)
            .map(|k| {
                let minute = Minute {
                    signal_seconds: 60.0,
                    usable: 150,
                    unusable: 30,
                    ..Minute::default()
                };
                (k, minute)
            })
            .collect();
        let episodes = vec![
            episode("af", -100, 50),
            // A rule and a model of the same.
            episode("af", 100, 160),
            episode("af", 120, 200),
            episode("pause", 590, 9000),
            episode("late", 700, 800),
        ];
        let gaps = vec![at(10)..at(12), at(599)..at(700)];
        let day = Day::new(
            at(0)..at(600),
            Vec::new(),
            &minutes,
            &gaps,
            episodes,
            &[],
            &[],
        );
        let said: Vec<_> = day
            .findings
            .iter()
            .map(|f| (f.name.as_str(), f.episodes, f.seconds, f.longest_seconds))
            .collect();
        assert_eq!(
            said,
            [("af", 2, 150.0, 100.0), ("pause", 1, 10.0, 10.0)],
            "late is of another day"
        );
        assert_eq!(day.findings[0].percent, Some(25.0));
        assert_eq!(
            day.gaps,
            Gaps {
                n: 2,
                seconds: 3.0,
                longest_seconds: 2.0
            }
        );
    }

    #[test]
    fn of_two_devices_the_better_one_counts_each_minute() {
        let (a, b): (DeviceId, DeviceId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let seen = |usable, n| Minute {
            usable,
            unclassified: n,
            ..Minute::default()
        };
        let by_device = [
            ((5, &a), seen(60, 70)),
            ((5, &b), seen(180, 71)),
            ((6, &a), seen(60, 72)),
            ((7, &a), seen(60, 73)),
            ((7, &b), seen(0, 74)),
        ];
        let best = best(by_device.into_iter().collect());
        let beats: Vec<_> = best.values().map(Minute::n_beats).collect();
        assert_eq!(beats, [71, 72, 73]);
    }

    #[test]
    fn alarms_are_counted_with_the_median_time_to_an_answer() {
        let alarm = |condition, state, raised, acknowledged: Option<i64>| AlarmTimes {
            condition,
            priority: if condition == Condition::Asystole {
                Priority::High
            } else {
                Priority::Low
            },
            state,
            raised: at(raised),
            acknowledged: acknowledged.map(at),
        };
        let alarms = [
            alarm(Condition::LowBattery, AlarmState::Active, 0, None),
            alarm(Condition::Asystole, AlarmState::Cleared, 10, Some(30)),
            alarm(Condition::Asystole, AlarmState::Cleared, 100, Some(110)),
            alarm(Condition::Asystole, AlarmState::Latched, 200, None),
            // Acknowledged by a clock that is behind.
            alarm(Condition::LowBattery, AlarmState::Cleared, 300, Some(299)),
        ];
        let held = |condition, priority, n| HeldBack {
            condition,
            priority,
            n,
        };
        let held_back = [
            held(Condition::Asystole, Priority::High, 2),
            held(Condition::Pause, Priority::Medium, 1),
            held(Condition::Asystole, Priority::High, 1),
        ];
        let day = Day::new(
            at(0)..at(600),
            Vec::new(),
            &Minutes::new(),
            &[],
            Vec::new(),
            &alarms,
            &held_back,
        );
        let [asystole, pause, battery] = &day.alarms[..] else {
            panic!("{:?}", day.alarms)
        };
        assert_eq!(asystole.condition, Condition::Asystole);
        assert_eq!(asystole.by_state.iter().sum::<usize>(), 3);
        assert_eq!(asystole.by_state[AlarmState::Cleared as usize], 2);
        assert_eq!(asystole.median_seconds, Some(15.0));
        assert_eq!(
            (asystole.held_back, pause.held_back, battery.held_back),
            (3, 1, 0)
        );
        assert_eq!((pause.by_state, pause.median_seconds), ([0; 4], None));
        assert_eq!(
            (battery.acknowledged, battery.median_seconds),
            (1, Some(0.0))
        );
        assert_eq!(day.median_seconds, Some(10.0));
        assert_eq!(day.total, Minute::default());
    }

    #[test]
    fn a_minute_of_a_record_cut_in_two_adds_up() {
        let record = RecordId {
            device: "a".parse().unwrap(),
            boot: ecg::BootId(1),
        };
        let mut trend = Trend::new(record, 0, at(60));
        trend.n_rates = 2;
        trend.rate_sum = 130.0;
        (trend.rate_min, trend.rate_max) = (60.0, 70.0);
        (trend.usable_seconds, trend.unusable_seconds) = (60, 30);
        let mut minute = Minute::default();
        minute.trend(&trend, 3);
        (trend.rate_min, trend.start) = (50.0, at(90));
        minute.trend(&trend, 3);
        assert_eq!(
            (minute.signal_seconds, minute.rate_mean()),
            (60.0, Some(65.0))
        );
        assert_eq!(minute.lowest, Some((50.0, at(90))));
        assert_eq!(minute.highest, Some((70.0, at(60))));
    }
}
