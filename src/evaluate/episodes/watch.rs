//! One device watched as the service watches it, with nothing between the steps.

use std::path::Path;

use alarm::Machine;
use dsp::{Chain, Models};
use ecg::{
    AlarmEvent, AlarmId, AlarmState, Anchor, Block, BootId, Condition, Gap, Layout, RecordId,
    SampleIndex, SampleRate, SignalBlock, Utc,
};
use infer::When;

use super::super::{REFERENCE, annotations, name_of, ventricular};
use super::reference::{Facts, Reference};
use super::{Options, Raised, RecordScore};
use crate::findings::{Course, Read};
use crate::monitor::{Effects, Known, Monitor};
use crate::record::{Player, Record};
use crate::wearable::Played;

/// Into so many parts a second is cut where its samples allow.
const PARTS: [usize; 3] = [10, 5, 2];

/// A device under watch.
pub(super) struct Watcher<'a> {
    options: &'a Options,
    monitor: Monitor,
    course: Course,
    record: RecordId,
    anchor: Anchor,
    rate: SampleRate,
    effects: Effects,
    /// Every alarm; those that stand have no end.
    raised: Vec<(AlarmId, Raised, bool)>,
    /// The first sample that has not arrived.
    arrived: SampleIndex,
    failed: Option<String>,
}

impl<'a> Watcher<'a> {
    /// A device with signals of `layout`, from its first sample on.
    pub(super) fn new(
        options: &'a Options,
        models: Models,
        layout: &Layout,
    ) -> Result<Self, String> {
        let record = RecordId {
            device: "watched".parse().map_err(|error| format!("{error}"))?,
            boot: BootId(0),
        };
        let rate = layout.base_rate();
        let anchor = Anchor {
            index: SampleIndex(0),
            utc: Utc(0),
            hz: rate.hz(),
        };
        let limits = options.alarm.limits;
        let machine = Machine::new(record.device.clone(), &options.alarm, limits);
        let mut monitor = Monitor::with_models(options.dsp.clone(), models, machine);
        let mut effects = Effects::default();
        let at = SampleIndex(0);
        let started = monitor.start(record.clone(), layout, anchor, at, None, &mut effects);
        started.map_err(|error| error.to_string())?;
        Ok(Self {
            options,
            monitor,
            course: Course::default(),
            record,
            anchor,
            rate,
            effects,
            raised: Vec::new(),
            arrived: at,
            failed: None,
        })
    }

    /// The next samples, as they arrive.
    pub(super) fn block(&mut self, block: &Block) {
        for part in parts(block) {
            self.arrived = part.end();
            self.monitor
                .block(&part, self.anchor, Utc(0), &mut self.effects);
            self.take();
        }
    }

    /// Samples that never come.
    pub(super) fn gap(&mut self, gap: Gap) {
        self.arrived = gap.end;
        self.monitor.gap(gap, Utc(0), &mut self.effects);
        self.take();
    }

    /// The alarms and the seconds, now that the record is over.
    pub(super) fn end(mut self) -> Result<(Vec<Raised>, f64), String> {
        self.monitor.end(Utc(0), &mut self.effects);
        self.take();
        if let Some(reason) = self.failed {
            return Err(reason);
        }
        let raised = self.raised.into_iter().map(|(_, raised, _)| raised);
        Ok((raised.collect(), self.arrived.0 as f64 / self.rate.hz()))
    }

    /// The sample whose arrival lets an alarm out: of what the machine judges by itself, the one that decides the sample that
    /// decided it, however the signal is cut.
    fn let_out(&self, event: &AlarmEvent) -> SampleIndex {
        use Condition::{
            Asystole, ExtremeBradycardia, ExtremeTachycardia, Pause, VentricularFibrillation,
            VentricularTachycardia,
        };
        match event.condition {
            Asystole
            | VentricularFibrillation
            | VentricularTachycardia
            | ExtremeBradycardia
            | ExtremeTachycardia
            | Pause => {
                let lag = self.rate.count(Chain::LAG_SECONDS);
                event.at.after(lag).min(self.arrived)
            }
            _ => self.arrived,
        }
    }

    /// Reads windows and takes note of alarms; all else is passed over.
    fn take(&mut self) {
        for known in std::mem::take(&mut self.effects.windows) {
            self.read(known);
        }
        for known in std::mem::take(&mut self.effects.pulses) {
            self.read_pulse(&known.stretch);
        }
        let seconds = |at: SampleIndex| at.0 as f64 / self.rate.hz();
        for event in std::mem::take(&mut self.effects.batch.events) {
            match event.state {
                AlarmState::Active => {
                    let raised = Raised {
                        condition: event.condition,
                        priority: event.priority,
                        onset: seconds(event.onset),
                        out: seconds(self.let_out(&event)),
                        end: f64::INFINITY,
                        evidence: event.evidence,
                    };
                    self.raised.push((event.alarm, raised, true));
                }
                AlarmState::Latched | AlarmState::Cleared => {
                    let of_it = |known: &&mut (AlarmId, Raised, bool)| known.0 == event.alarm;
                    let known = self.raised.iter_mut().rev().find(of_it);
                    if let Some((_, raised, stands @ true)) = known {
                        raised.end = seconds(event.at);
                        *stands = false;
                    }
                }
                AlarmState::Acknowledged => {}
            }
        }
        self.effects = Effects::default();
    }

    /// Reads a stretch of the pulse wave, in the same way.
    fn read_pulse(&mut self, stretch: &infer::PulseStretch) {
        let reader = &self.options.reader;
        let reading = match reader.read_pulse(stretch) {
            Ok(reading) => reading,
            Err(error) => {
                self.failed.get_or_insert_with(|| error.to_string());
                return;
            }
        };
        let model = reader.reconstructor().library().pulse_rhythm();
        let (Some(model), Some(decision)) = (model, &reading.decision) else {
            return;
        };
        let read = Read {
            record: &self.record,
            rate: self.rate,
            anchor: self.anchor,
            end: stretch.end,
            findings: reading.finding.as_slice(),
        };
        let has_ecg = self.monitor.layout().is_some_and(Layout::has_ecg);
        let noted = self.course.pulse(&read, (model.form(), decision), has_ecg);
        for report in noted.reports {
            self.monitor.report(report, &mut self.effects);
        }
    }

    /// Reads a window as the pool does, and lets alarms follow from it as the shard does.
    fn read(&mut self, known: Known) {
        let Known {
            window, stretch, ..
        } = known;
        let reader = &self.options.reader;
        let (mut findings, mut failures, mut rhythm) = (Vec::new(), Vec::new(), None);
        let mut diagnoses = Vec::new();
        let end = window.end;
        if self.options.diagnose {
            let task = infer::WindowTask {
                window: window.into(),
                calibration: None,
                stretch,
            };
            match reader.read(&task, When::Window) {
                Ok(reading) => {
                    (findings, failures, rhythm) =
                        (reading.findings, reading.failures, reading.rhythm);
                    diagnoses = reading.diagnoses;
                }
                Err(error) => failures.push(error),
            }
        } else if let Some(stretch) = &stretch {
            let when = When::Window;
            rhythm = reader.listen(stretch, &window, when, &mut findings, &mut failures);
        }
        if let Some(error) = failures.first() {
            self.failed.get_or_insert_with(|| error.to_string());
        }
        let read = Read {
            record: &self.record,
            rate: self.rate,
            anchor: self.anchor,
            end,
            findings: &findings,
        };
        let form = reader.reconstructor().library().rhythm();
        let form = form.map(|model| model.form());
        let noted = self
            .course
            .window(&read, Some(&diagnoses), form.zip(rhythm.as_ref()), true);
        for report in noted.reports {
            self.monitor.report(report, &mut self.effects);
        }
    }
}

/// A second cut into parts, where every signal has a whole number of samples in each.
fn parts(block: &Block) -> Vec<Block> {
    let whole = |n: &&usize| {
        let mut signals = block.signals.iter();
        signals.all(|signal| signal.samples.len().is_multiple_of(**n) && !signal.samples.is_empty())
    };
    let n = PARTS.iter().find(whole).copied().unwrap_or(1);
    let Some(first) = block.signals.first() else {
        return Vec::new();
    };
    let step = first.samples.len() / n;
    let part = |k: usize| Block {
        start: SampleIndex(block.start.0 + (k * step) as u64),
        signals: block
            .signals
            .iter()
            .map(|signal| {
                let step = signal.samples.len() / n;
                SignalBlock {
                    samples: signal.samples[k * step..(k + 1) * step].to_vec(),
                    lead_off: signal.lead_off,
                }
            })
            .collect(),
    };
    (0..n).map(part).collect()
}

/// The alarms on a recording against its annotations.
pub(super) fn recording(path: &Path, options: &Options) -> Result<RecordScore, String> {
    let name = name_of(path);
    let marks = annotations(path, REFERENCE)?.list;
    let models = ventricular::models(&options.weights, &name)?;
    let record = Record::open(path).map_err(|error| error.to_string())?;
    let player = Player::new(record, &[""; 0]).map_err(|error| error.to_string())?;
    let layout = player.layout().clone();
    let mut watcher = Watcher::new(options, models, &layout)?;
    let mut end = SampleIndex(0);
    let played = Played::new(player, BootId(0), Utc(0)).map_err(|error| error.to_string())?;
    for packet in played {
        let block = packet.map_err(|error| error.to_string())?.to_block();
        end = block.end();
        watcher.block(&block);
    }
    let facts = Facts::annotated(&marks, layout.base_rate(), end);
    let reference = Reference::of(&facts, &options.alarm);
    let (raised, seconds) = watcher.end()?;
    Ok(RecordScore::of(name, seconds / 3600.0, &reference, &raised))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wearable::Simulated;
    use ecg::Lead;
    use ecg::simulate::{Rhythm, Scenario};
    use std::sync::Arc;

    /// What is raised in `seconds` of a scenario, with these leads, which are flat where they are `lost`.
    fn watched(scenario: &Scenario, leads: &[Lead], lost: bool, seconds: usize) -> Vec<Raised> {
        let library = infer::Library::shipped().unwrap();
        let reader = infer::Reader::new(library, infer::statements::Limits::default()).unwrap();
        let options = Options {
            dsp: dsp::Config::default(),
            alarm: alarm::Config::default(),
            reader: Arc::new(reader),
            diagnose: false,
            weights: ventricular::Options::default(),
        };
        let mut wearable = Simulated::new(scenario, leads, BootId(0), Utc(0)).unwrap();
        let layout = wearable.layout().clone();
        let mut watcher = Watcher::new(&options, Models::default(), &layout).unwrap();
        for _ in 0..seconds {
            let mut block = wearable.second().unwrap().to_block();
            for signal in block.signals.iter_mut().take(leads.len()) {
                if lost {
                    signal.samples.fill(0.0);
                }
            }
            watcher.block(&block);
        }
        watcher.end().unwrap().0
    }

    /// Alarms of atrial fibrillation in two minutes of fibrillation and two of sinus rhythm, and a pulse wave: from when to when,
    /// s, and why.
    fn fibrillation(leads: &[Lead], lost: bool) -> Vec<(f64, f64, String)> {
        let mut scenario = Scenario::new(5, SampleRate::new(250.0).unwrap());
        scenario.ppg_rate = Some(SampleRate::new(50.0).unwrap());
        scenario.rhythms = vec![
            (Rhythm::AtrialFibrillation { bpm: 95.0 }, 120.0),
            (Rhythm::Sinus { bpm: 70.0 }, f64::INFINITY),
        ];
        watched(&scenario, leads, lost, 240)
            .into_iter()
            .filter(|raised| raised.condition == Condition::AtrialFibrillation)
            .map(|raised| (raised.out, raised.end, raised.evidence))
            .collect()
    }

    #[test]
    fn fibrillation_is_alarmed_from_the_pulse_where_the_ecg_cannot_tell() {
        let check = |leads: &[Lead], lost: bool, says: &str| {
            let alarms = fibrillation(leads, lost);
            let [(out, end, evidence)] = &alarms[..] else {
                panic!("{alarms:?}");
            };
            assert!(evidence.starts_with(says), "{evidence}");
            assert!((30.0..75.0).contains(out), "{out}");
            assert!((120.0..175.0).contains(end), "{end}");
        };
        let pulse = "Irregular pulse, atrial fibrillation likely (PPG): irregular pulse intervals";
        check(&[], false, pulse);
        check(&[Lead::II], true, pulse);
        check(&[Lead::II], false, "Atrial fibrillation: irregular RR");
    }

    #[test]
    fn steps_raise_no_alarm_where_an_accelerometer_tells_of_them() {
        let rate = |hz| SampleRate::new(hz).unwrap();
        let mut scenario = Scenario::new(5, rate(250.0));
        scenario.ppg_rate = Some(rate(50.0));
        scenario.noise.steps_per_minute = 165.0;
        // Runs for two minutes of four.
        scenario.unrest = vec![(60.0, 0.0), (62.0, 1.0), (180.0, 1.0), (182.0, 0.0)];
        let rates = |scenario: &Scenario| -> Vec<Condition> {
            let raised = watched(scenario, &[], false, 240).into_iter();
            raised.map(|raised| raised.condition).collect()
        };
        // Nothing in the wave says that it is not the heart.
        let alone = rates(&scenario);
        assert!(alone.contains(&Condition::HighRate), "{alone:?}");
        scenario.acceleration_rate = Some(rate(50.0));
        let beside = rates(&scenario);
        let technical = [Condition::UnusableSignal, Condition::PulseLost];
        assert!(
            beside.iter().all(|condition| technical.contains(condition)),
            "{beside:?}"
        );
    }
}
