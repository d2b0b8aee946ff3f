//! What the pulse says of a patient beyond its rate: variability, breath, perfusion, and how long it takes from the heart.
//!
//! **Pure: what the chain says of a record goes in, what is known every four seconds comes out.** All of it needs longer than
//! the chain remembers, so after a restart it starts anew and is complete five minutes later; nothing alarms on it.
//!
//! A pulse counts if some signal with a pulse could be used in its second. So pulses wait for the verdict on theirs, and
//! nothing is told of a second that has none yet.

use std::collections::VecDeque;

use dsp::Output;
use dsp::respiration::{HOP_SECONDS, Rate, Respiration};
use dsp::variability::{Measures, Variability};
use ecg::{Gap, Layout, Pulse, Quality, SampleIndex, SampleRate};

/// Perfusion is the median over so many pulses...
const PERFUSION_PULSES: usize = 16;
/// ...at least so many.
const FEWEST_PULSES: usize = 5;
/// Where a pulse is a greater share of the level, that is no level: somebody took the mean off.
const GREATEST_PERFUSION: f32 = 0.1;
/// The arrival time is the median over so many pulses...
const ARRIVAL_PULSES: usize = 32;
/// ...each from the last R peak that is so many seconds before its onset.
const ARRIVAL_SECONDS: (f64, f64) = (0.08, 0.6);
/// Pulses that wait for their second to be judged, and seconds judged, at most.
const MOST_WAITING: usize = 64;

/// What is known as of a position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vitals {
    /// The position: every pulse before it counts.
    pub at: SampleIndex,
    /// The variability of the five minutes before.
    pub variability: Option<Measures>,
    /// The breath in the half minute before.
    pub respiration: Option<Rate>,
    /// The amplitude of the last pulses against the level of the signal, percent; `None` where the level is not that of the
    /// light.
    pub perfusion_percent: Option<f32>,
    /// The pulse arrival time: from the R peak to the onset of its pulse, median, ms. It has the pre-ejection period in it, so
    /// it is not the transit time alone, and the delay of the sensor. `None` without an ECG.
    pub arrival_ms: Option<f32>,
}

/// Collects the pulses of one record.
#[derive(Debug)]
pub struct Collector {
    rate: SampleRate,
    variability: Variability,
    respiration: Respiration,
    /// Of the last pulses, the amplitude as a share of the level.
    perfusion: VecDeque<f32>,
    /// Of the last pulses, seconds from the R peak.
    arrivals: VecDeque<f64>,
    /// The last beats of the ECG.
    beats: VecDeque<SampleIndex>,
    breath: Option<Rate>,
    /// Pulses of seconds that are not judged yet.
    waiting: VecDeque<Pulse>,
    /// Ends of seconds, and whether a pulse could be seen in them; those after the last pulse told.
    seconds: VecDeque<(SampleIndex, bool)>,
    /// The last second told could be used.
    seen: bool,
    /// The next hop.
    hop: u64,
}

impl Collector {
    /// For a record of this layout that begins, or goes on, at `at`; `None` where no signal has a pulse.
    pub fn new(layout: &Layout, at: SampleIndex) -> Option<Self> {
        let rate = layout.base_rate();
        let has_pulse = layout.iter().any(|spec| spec.kind.has_pulse());
        has_pulse.then(|| Self {
            rate,
            variability: Variability::new(at, rate),
            respiration: Respiration::new(at, rate),
            perfusion: VecDeque::new(),
            arrivals: VecDeque::new(),
            beats: VecDeque::new(),
            breath: None,
            waiting: VecDeque::new(),
            seconds: VecDeque::new(),
            seen: false,
            hop: at.0 / hop(rate) + 1,
        })
    }

    /// Takes the next thing that the chain said; what is known by now, where that is told anew.
    pub fn push(&mut self, output: &Output) -> Option<Vitals> {
        match output {
            Output::Pulse(pulse) => {
                self.waiting.push_back(*pulse);
                if self.waiting.len() > MOST_WAITING {
                    self.waiting.pop_front();
                }
                None
            }
            Output::Beat(beat) => {
                self.beats.push_back(beat.r_peak);
                if self.beats.len() > MOST_WAITING {
                    self.beats.pop_front();
                }
                None
            }
            Output::Quality(quality) => {
                self.judge(quality);
                None
            }
            Output::Decided(until) => self.decided(*until),
            _ => None,
        }
    }

    /// Samples are missing, and all before them was told.
    pub fn gap(&mut self, gap: Gap) {
        self.waiting.clear();
        self.seconds.clear();
        self.perfusion.clear();
        self.arrivals.clear();
        self.beats.clear();
        self.seen = false;
        self.breath = None;
        self.variability.interrupt();
        self.respiration.gap(gap.end);
        self.hop = self.hop.max(gap.end.0 / hop(self.rate) + 1);
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.variability.heap_bytes()
            + self.respiration.heap_bytes()
            + self.perfusion.capacity() * size_of::<f32>()
            + self.arrivals.capacity() * size_of::<f64>()
            + self.beats.capacity() * size_of::<SampleIndex>()
            + self.waiting.capacity() * size_of::<Pulse>()
            + self.seconds.capacity() * size_of::<(SampleIndex, bool)>()
    }

    fn judge(&mut self, quality: &Quality) {
        if quality.signal.lead().is_some() {
            return;
        }
        match self.seconds.back_mut() {
            // The same second of another signal.
            Some((end, usable)) if *end >= quality.end => *usable |= quality.usable(),
            _ => self.seconds.push_back((quality.end, quality.usable())),
        }
        if self.seconds.len() > MOST_WAITING {
            self.seconds.pop_front();
        }
    }

    /// Everything before `until` has been said.
    fn decided(&mut self, until: SampleIndex) -> Option<Vitals> {
        let mut told = None;
        while let Some((end, usable)) = self.seconds.pop_front_if(|(end, _)| *end <= until) {
            while let Some(pulse) = self.waiting.pop_front_if(|pulse| pulse.onset < end) {
                if usable {
                    self.count(&pulse);
                }
            }
            if !usable {
                self.variability.interrupt();
                self.respiration.interrupt();
            }
            let breath = &mut self.breath;
            self.respiration.decided(end, |rate| *breath = Some(rate));
            if end.0 >= self.hop.saturating_mul(hop(self.rate)) {
                self.hop = end.0 / hop(self.rate) + 1;
                told = Some(self.vitals(end));
            }
        }
        told
    }

    fn count(&mut self, pulse: &Pulse) {
        self.variability.pulse(pulse);
        self.respiration.pulse(pulse);
        if self.perfusion.len() == PERFUSION_PULSES {
            self.perfusion.pop_front();
        }
        self.perfusion
            .push_back(pulse.amplitude / pulse.level.abs());
        let (least, most) = ARRIVAL_SECONDS;
        let latest = pulse.onset.before(self.rate.count(least));
        let beat = self.beats.iter().rfind(|beat| **beat <= latest);
        let late = beat.map(|beat| self.rate.seconds(pulse.onset.since(*beat)));
        if let Some(late) = late.filter(|late| *late <= most) {
            if self.arrivals.len() == ARRIVAL_PULSES {
                self.arrivals.pop_front();
            }
            self.arrivals.push_back(late);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a few hundred")]
    fn arrival_ms(&self) -> Option<f32> {
        let mut late: Vec<f64> = self.arrivals.iter().copied().collect();
        late.sort_by(f64::total_cmp);
        let middle = late.get(late.len() / 2);
        middle
            .filter(|_| late.len() >= FEWEST_PULSES)
            .map(|late| (1000.0 * late) as f32)
    }

    fn vitals(&self, at: SampleIndex) -> Vitals {
        let mut shares: Vec<f32> = self.perfusion.iter().copied().collect();
        shares.sort_by(f32::total_cmp);
        let share = shares.get(shares.len() / 2).copied();
        let share = share.filter(|share| shares.len() >= FEWEST_PULSES && *share > 0.0);
        Vitals {
            at,
            variability: self.variability.measures(at),
            respiration: self.breath,
            perfusion_percent: share
                .filter(|share| *share <= GREATEST_PERFUSION)
                .map(|share| 100.0 * share),
            arrival_ms: self.arrival_ms(),
        }
    }
}

/// The pulses of a whole record, and where none could be seen.
#[derive(Debug, Default)]
pub struct Pulses {
    found: Vec<Pulse>,
    /// Seconds in which a signal with a pulse was judged, in order, and whether one of them could be used.
    seconds: Vec<(Gap, bool)>,
    vitals: Vec<Vitals>,
}

impl Pulses {
    /// Takes the next pulse.
    pub fn push(&mut self, pulse: Pulse) {
        self.found.push(pulse);
    }

    /// Takes the next judgement of a second of any signal.
    pub fn judge(&mut self, quality: &Quality) {
        let (start, end) = (quality.start, quality.end);
        match self.seconds.last_mut() {
            _ if quality.signal.lead().is_some() => {}
            Some((second, usable)) if second.end >= end => *usable |= quality.usable(),
            _ => self.seconds.push((Gap { start, end }, quality.usable())),
        }
    }

    /// Takes what is known anew.
    pub fn note(&mut self, vitals: Vitals) {
        self.vitals.push(vitals);
    }

    /// Breath and perfusion every four seconds, as lines of comma-separated values under a line of names; `None` where no signal had
    /// a pulse.
    pub fn breath_csv(&self, rate: SampleRate) -> Option<String> {
        if self.seconds.is_empty() {
            return None;
        }
        let mut text = String::from("sample,s,breaths_per_minute,quality,perfusion_percent\n");
        for known in &self.vitals {
            let cell = |value: Option<f32>| value.map_or_else(String::new, |v| format!("{v:.2}"));
            let breath = known.respiration;
            let row = [
                known.at.to_string(),
                format!("{:.3}", rate.seconds(known.at.since(SampleIndex(0)))),
                cell(breath.and_then(|breath| breath.per_minute)),
                cell(breath.map(|breath| breath.quality)),
                cell(known.perfusion_percent),
            ];
            text += &row.join(",");
            text.push('\n');
        }
        Some(text)
    }

    /// The variability of each five minutes up to `end`, as lines of comma-separated values under a line of names; `None` where
    /// no signal had a pulse.
    pub fn stretches_csv(&self, end: SampleIndex, rate: SampleRate) -> Option<String> {
        if self.seconds.is_empty() {
            return None;
        }
        let mut text = String::from(
            "start_sample,start_s,seconds,used_percent,n_pulses,n_pp,n_premature,n_missed,n_extra,n_odd,\
             mean_pp_ms,sdpp_ms,rmssd_ms,ppp50_percent\n",
        );
        let unseen = self.seconds.iter().filter(|(_, usable)| !usable);
        let unseen: Vec<Gap> = unseen.map(|(second, _)| *second).collect();
        let seen = |pulse: &Pulse| {
            let after = unseen.partition_point(|gap| gap.end <= pulse.onset);
            unseen.get(after).is_none_or(|gap| pulse.onset < gap.start)
        };
        let pulses: Vec<Pulse> = self.found.iter().filter(|p| seen(p)).copied().collect();
        for (start, of) in dsp::variability::stretches(&pulses, &unseen, end, rate) {
            let cell = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.2}"));
            let row = [
                start.to_string(),
                format!("{:.3}", rate.seconds(start.since(SampleIndex(0)))),
                format!("{:.1}", of.seconds),
                format!("{:.1}", 100.0 * of.used),
                of.n_pulses.to_string(),
                of.n_pp.to_string(),
                of.n_premature.to_string(),
                of.n_missed.to_string(),
                of.n_extra.to_string(),
                of.n_odd.to_string(),
                format!("{:.1}", of.mean_pp_ms),
                cell(Some(of.sdpp_ms)),
                cell(of.rmssd_ms),
                cell(of.ppp50_percent),
            ];
            text += &row.join(",");
            text.push('\n');
        }
        Some(text)
    }
}

fn hop(rate: SampleRate) -> u64 {
    rate.count(HOP_SECONDS).0.max(1)
}

#[cfg(test)]
mod tests {
    use dsp::{Chain, Config};
    use ecg::simulate::{self, OffSpan, Scenario};
    use ecg::{Block, SignalBlock, SignalKind, SignalSpec, Wavelength};

    use super::*;

    const HZ: usize = 100;

    fn layout() -> Layout {
        Layout::new(&[SignalSpec {
            kind: SignalKind::Ppg(Wavelength::Green),
            rate: SampleRate::new(HZ as f64).unwrap(),
        }])
        .unwrap()
    }

    /// What is known of so many seconds of a scenario, its samples moved up by `level`, in blocks of `n` samples.
    fn known(scenario: &Scenario, seconds: f64, level: f32, n: usize) -> Vec<Vitals> {
        let segment = simulate::record(scenario, seconds).unwrap();
        let layout = layout();
        let mut chain = Chain::new(&layout, &Config::default()).unwrap();
        let mut collector = Collector::new(&layout, SampleIndex(0)).unwrap();
        let mut known = Vec::new();
        let mut out = Vec::new();
        for (k, samples) in segment.ppg.chunks(n).enumerate() {
            let start = SampleIndex((k * n) as u64);
            let off = segment.truth.contact_off.iter();
            let lead_off = off.clone().any(|off| (off.start..off.end).contains(&start));
            let samples = samples.iter().map(|sample| sample + level).collect();
            let signals = vec![SignalBlock { samples, lead_off }];
            chain.push(&Block { start, signals }, &mut out);
            known.extend(out.drain(..).filter_map(|output| collector.push(&output)));
        }
        chain.finish(&mut out);
        known.extend(out.drain(..).filter_map(|output| collector.push(&output)));
        known
    }

    fn scenario(seed: u64) -> Scenario {
        let rate = SampleRate::new(HZ as f64).unwrap();
        Scenario {
            ppg_rate: Some(rate),
            breaths_per_minute: Some(14.0),
            ..Scenario::new(seed, rate)
        }
    }

    #[test]
    fn a_pulse_arrives_so_long_after_its_beat() {
        let rate = SampleRate::new(250.0).unwrap();
        let spec = |kind| SignalSpec { kind, rate };
        let kinds = [SignalKind::Ecg(ecg::Lead::II), SignalKind::Abp];
        let layout = Layout::new(&kinds.map(spec)).unwrap();
        let mut collector = Collector::new(&layout, SampleIndex(0)).unwrap();
        let mut told = None;
        for second in 0..20u64 {
            let at = |ms: u64| SampleIndex((1000 * second + ms) / 4);
            // Every fifth beat moves no blood; the beat before it is too far away.
            let r_peak = at(400);
            collector.push(&Output::Beat(ecg::Beat {
                r_peak,
                class: None,
            }));
            let onset = at(if second % 5 == 4 { 320 } else { 620 });
            collector.push(&Output::Pulse(Pulse {
                onset,
                steepest: onset.0 as f64 + 10.0,
                peak: at(760),
                level: 80.0,
                amplitude: 40.0,
            }));
            collector.push(&Output::Quality(Quality {
                signal: SignalKind::Abp,
                start: at(0),
                end: at(1000),
                score: 1.0,
                reason: ecg::QualityReason::Good,
            }));
            let known = collector.push(&Output::Decided(at(1000)));
            told = known.or(told);
        }
        assert_eq!(told.unwrap().arrival_ms, Some(220.0));
    }

    #[test]
    fn what_a_pulse_says_is_known_every_four_seconds_however_it_is_cut() {
        let whole = known(&scenario(3), 120.0, 20.0, HZ);
        assert_eq!(known(&scenario(3), 120.0, 20.0, 37).len(), whole.len());
        assert!(known(&scenario(3), 120.0, 20.0, 37) == whole);
        let ends: Vec<u64> = whole.iter().map(|vitals| vitals.at.0).collect();
        assert_eq!(
            ends,
            (4..=120)
                .step_by(4)
                .map(|s| s * HZ as u64)
                .collect::<Vec<_>>()
        );
        let last = whole.last().unwrap();
        let variability = last.variability.unwrap();
        assert!(
            (variability.mean_pp_ms - 60e3 / 72.0).abs() < 20.0,
            "{variability:?}"
        );
        assert!(variability.rmssd_ms.is_some() && variability.used > 0.9);
        let breath = last.respiration.unwrap();
        assert!((breath.per_minute.unwrap() - 14.0).abs() < 1.0 && breath.quality > 0.4);
        // A pulse is 1 high on a level of 20.
        assert!(
            (last.perfusion_percent.unwrap() - 5.0).abs() < 1.0,
            "{last:?}"
        );
        // Half a minute is needed, and some pulses.
        assert!(whole[6].respiration.is_none() && whole[7].respiration.is_some());
        assert_eq!(whole[1].variability, None);
    }

    #[test]
    fn a_whole_record_is_told_by_stretches() {
        let mut pulses = Pulses::default();
        let rate = SampleRate::new(HZ as f64).unwrap();
        assert_eq!(pulses.stretches_csv(SampleIndex(0), rate), None);
        for k in 0..400_u64 {
            let start = SampleIndex(k * 100);
            pulses.push(Pulse {
                onset: start.after(rate.count(0.2)),
                steepest: start.after(rate.count(0.3)).0 as f64,
                peak: start.after(rate.count(0.4)),
                level: 1.0,
                amplitude: 1.0,
            });
            for score in [0.0, if k == 50 { 0.0 } else { 0.9 }] {
                pulses.judge(&Quality {
                    signal: SignalKind::Abp,
                    start,
                    end: SampleIndex(start.0 + 100),
                    score,
                    reason: ecg::QualityReason::Good,
                });
            }
        }
        let text = pulses.stretches_csv(SampleIndex(40_000), rate).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1],
            "0,0.000,300.0,99.0,299,297,0,0,0,1,1000.0,0.00,0.00,0.00"
        );
        assert_eq!(
            lines[2],
            "30000,300.000,100.0,99.0,100,99,0,0,0,0,1000.0,0.00,0.00,0.00"
        );
    }

    #[test]
    fn without_a_level_there_is_no_perfusion() {
        let known = known(&scenario(4), 60.0, 0.0, HZ);
        assert!(
            known
                .iter()
                .all(|vitals| vitals.perfusion_percent.is_none())
        );
        let spec = |kind| SignalSpec {
            kind,
            rate: SampleRate::new(250.0).unwrap(),
        };
        let ecg = Layout::new(&[spec(SignalKind::Ecg(ecg::Lead::II))]).unwrap();
        assert!(Collector::new(&ecg, SampleIndex(0)).is_none());
    }

    #[test]
    fn a_sensor_that_is_off_leaves_nothing_behind_for_long() {
        let off = OffSpan {
            contact: simulate::Contact::Ppg,
            start: 60.0,
            seconds: 30.0,
        };
        let scenario = Scenario {
            contact_off: vec![off],
            ..scenario(5)
        };
        let known = known(&scenario, 130.0, 20.0, HZ);
        let at = |second: u64| {
            known
                .iter()
                .find(|vitals| vitals.at.0 == second * HZ as u64)
                .unwrap()
        };
        assert!(at(60).respiration.unwrap().per_minute.is_some());
        assert!(at(88).respiration.unwrap().per_minute.is_none());
        assert!(at(128).respiration.unwrap().per_minute.is_some());
        // Half of the time or less is known by then.
        assert!(at(60).variability.is_some());
        assert_eq!(
            at(116).variability.is_some(),
            at(116).variability.is_some_and(|v| v.used > 0.6)
        );
    }
}
