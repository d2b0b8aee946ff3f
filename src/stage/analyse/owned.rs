//! A device as its shard owns it: the core, and what is shown of it.

use std::sync::Arc;

use ecg::{
    BootId, DeviceId, Measurement, QualityReason, Rate, SampleIndex, SampleRate, SignalKind, Utc,
    Window,
};
use infer::baseline::Baseline;
use infer::{PulseReading, PulseRhythmForm, Reading, RhythmForm};
use ingest::Status;
use ingest::mqtt::Ack;
use store::PatientId;

use super::equipment::{Equipment, Heard};
use crate::config::Config;
use crate::device::{Device, Receipt};
use crate::findings::{Course, Noted, Read};
use crate::live::{
    DeviceStatus, Found, LatestWindow, LiveBus, LiveEvent, PulseStatus, Undrawn, to_thousandths,
};
use crate::monitor::{Effects, Live, Monitor};
use crate::vitals::Vitals;

/// How long a rate is shown after the beat that completed it: as long as no asystole is due.
const RATE_SECONDS: f64 = 4.0;

/// How long measurements are shown after the beat, or the pulses, that they end with.
const MEASUREMENT_SECONDS: f64 = 10.0;

/// Under too much load, the twelve leads of a device are completed only so often.
const TWELVE_EVERY_SECONDS: f64 = 60.0;

/// A synthetic trace is drawn of a pulse wave that is usable in this share of its seconds.
const USABLE_SHARE: f64 = 0.8;

/// Who wears a device, and the limits that go with it.
#[derive(Debug, Clone)]
pub struct Wearer {
    /// The patient's pseudonym.
    pub patient: String,
    /// The patient's own limits.
    pub limits: alarm::Limits,
    /// The patient's own correction of the model, where there is one.
    pub calibration: Option<Arc<infer::Calibration>>,
    /// What is usual for the patient, once that is known.
    pub baseline: Option<Arc<Baseline>>,
}

/// A device and what is shown of it.
pub(super) struct Owned {
    pub(super) device: Device<Ack>,
    pub(super) online: bool,
    pub(super) silent: bool,
    pub(super) rate: Option<Rate>,
    pub(super) quality: Vec<(SignalKind, f32, QualityReason)>,
    pub(super) latest: Option<LatestWindow>,
    /// Whether synthetic traces are switched on.
    synthetic: bool,
    pub(super) course: Course,
    /// The end of the newest window that was read with its twelve leads.
    whole: Option<(BootId, SampleIndex)>,
    equipment: Equipment,
    /// How the pulse wave of a boot serves.
    pulse: Option<(BootId, PulseStatus)>,
    pub(super) measurement: Option<(Box<Measurement>, Utc)>,
    vitals: Option<(Box<Vitals>, Utc)>,
    pub(super) patient: Option<String>,
    pub(super) limits: alarm::InForce,
    pub(super) calibration: Option<Arc<infer::Calibration>>,
}

impl Owned {
    /// A device that `wearer` wears; `resume` is what is durable of it.
    pub(super) fn new(
        id: DeviceId,
        config: &Config,
        wearer: Option<&Wearer>,
        resume: Option<store::Resume>,
    ) -> Self {
        let patient = wearer.map(|wearer| wearer.patient.clone());
        let limits = wearer.map(|wearer| wearer.limits).unwrap_or_default();
        let open = resume.as_ref().map(|resume| resume.findings.clone());
        let mut machine = alarm::Machine::new(id.clone(), &config.alarm, limits);
        if let Some(resume) = &resume {
            // No record yet: this only puts the standing alarms in force.
            machine.resume(resume.durable_until, resume.standing.clone());
            if !resume.ended {
                let record = resume.record.clone();
                machine.left(record, resume.anchor, resume.durable_until);
            }
        }
        let monitor = Monitor::new(config.dsp.clone(), machine);
        let device = Device::new(
            id,
            &config.resequence,
            &config.clock,
            config.pipeline.warm_up,
            monitor,
            resume,
        );
        let mut course = Course::new(
            open.unwrap_or_default(),
            wearer.and_then(|wearer| wearer.baseline.clone()),
        );
        let limits = config.alarm.in_force(limits);
        course.set_limits(&limits);
        Self {
            device,
            online: false,
            silent: false,
            rate: None,
            quality: Vec::new(),
            latest: None,
            synthetic: config.infer.surrogate,
            whole: None,
            equipment: Equipment::default(),
            pulse: None,
            course,
            measurement: None,
            vitals: None,
            patient,
            limits,
            calibration: wearer.and_then(|wearer| wearer.calibration.clone()),
        }
    }

    /// The newest 10 s of the pulse wave, when they began, and what speaks against drawing a synthetic trace of them.
    pub(super) fn newest_pulse(&self) -> Result<(infer::PulseStretch, Utc), Undrawn> {
        self.drawable()?;
        let newest = self.device.view().newest_pulse();
        let (stretch, start, usable) = newest.ok_or(Undrawn::TooShort)?;
        if usable < USABLE_SHARE || stretch.pulses.is_empty() {
            return Err(Undrawn::Unusable);
        }
        Ok((stretch, start))
    }

    /// Whether there is a pulse wave, and no ECG beside it.
    fn drawable(&self) -> Result<(), Undrawn> {
        let Some(layout) = self.device.view().layout() else {
            return Err(Undrawn::TooShort);
        };
        if layout.has_ecg() {
            return Err(Undrawn::Measured);
        }
        let is_ppg = |kind| matches!(kind, SignalKind::Ppg(_));
        if !layout.iter().any(|signal| is_ppg(signal.kind)) {
            return Err(Undrawn::NoPulse);
        }
        Ok(())
    }

    /// Whether the window that ends there is to be read with its twelve leads, however little time there is.
    pub(super) fn is_due(&self, boot: BootId, end: SampleIndex) -> bool {
        let Some((_, whole)) = self.whole.filter(|(known, _)| *known == boot) else {
            return true;
        };
        let layout = self.device.view().layout();
        layout.is_none_or(|layout| {
            layout.base_rate().seconds(end.since(whole)) >= TWELVE_EVERY_SECONDS
        })
    }

    /// Uses other limits from now on.
    pub(super) fn set_limits(&mut self, limits: alarm::Limits) {
        let machine = self.device.monitor().machine();
        machine.set_limits(limits);
        self.limits = machine.limits();
        self.course.set_limits(&self.limits);
    }

    /// Takes note of what was read from a window of a boot; what came of it.
    pub(super) fn note(
        &mut self,
        boot: BootId,
        window: Arc<Window>,
        reading: Reading,
        form: Option<&RhythmForm>,
    ) -> Noted {
        let view = self.device.view();
        let (record, layout) = (view.record(), view.layout());
        let (Some(record), Some(layout), Some(anchor)) = (record, layout, view.anchor()) else {
            return Noted::default();
        };
        if record.boot != boot {
            // Of a record that is closed.
            return Noted::default();
        }
        let read = Read {
            record,
            rate: layout.base_rate(),
            anchor,
            end: reading.twelve.end,
            findings: &reading.findings,
        };
        let diagnoses = (!reading.is_partial()).then_some(&*reading.diagnoses);
        if diagnoses.is_some() {
            self.whole = Some((boot, read.end));
        }
        let rhythm = form.zip(reading.rhythm.as_ref());
        let noted = self
            .course
            .window(&read, diagnoses, rhythm, self.patient().is_some());
        self.latest = Some(LatestWindow {
            start: anchor.utc(window.start),
            window,
            calibration: self.calibration.clone(),
            findings: reading.into_all().collect(),
        });
        noted
    }

    /// Takes note of what was read from a stretch of the pulse wave of a boot; what came of it.
    pub(super) fn note_pulse(
        &mut self,
        boot: BootId,
        reading: &PulseReading,
        form: Option<&PulseRhythmForm>,
    ) -> Noted {
        let view = self.device.view();
        let (record, layout) = (view.record(), view.layout());
        let (Some(record), Some(layout), Some(anchor)) = (record, layout, view.anchor()) else {
            return Noted::default();
        };
        let (Some(form), Some(decision)) = (form, &reading.decision) else {
            return Noted::default();
        };
        if record.boot != boot {
            // Of a record that is closed.
            return Noted::default();
        }
        let known = self.pulse.filter(|(known, _)| *known == boot);
        let (n_asked, n_unusable) = known.map_or((0, 0), |(_, p)| (p.n_asked, p.n_unusable));
        let status = PulseStatus {
            signal: decision.signal,
            usable: decision.usable,
            n_asked: n_asked + 1,
            n_unusable: n_unusable + u64::from(!decision.is_usable),
        };
        self.pulse = Some((boot, status));
        let read = Read {
            record,
            rate: layout.base_rate(),
            anchor,
            end: decision.end,
            findings: reading.finding.as_slice(),
        };
        let has_windows = layout.has_ecg();
        self.course.pulse(&read, (form, decision), has_windows)
    }

    /// Who wears it, where that is known.
    pub(super) fn patient(&self) -> Option<PatientId> {
        self.patient.as_ref().and_then(|name| name.parse().ok())
    }

    /// Takes note of what a packet says of the equipment.
    pub(super) fn hear(&mut self, receipt: &Receipt, effects: &mut Effects) {
        let battery = self.device.battery_percent();
        let Some((at, rate)) = self.now().filter(|_| receipt.lost.is_none()) else {
            return;
        };
        let reports = self.equipment.packet(Heard {
            at,
            rate,
            battery,
            clock: receipt.clock_event.as_ref(),
        });
        for report in reports {
            self.device.monitor().report(report, effects);
        }
    }

    /// Takes note of what the device, or the broker for it, says of its presence.
    pub(super) fn presence(&mut self, status: Status, effects: &mut Effects) {
        let Some(at) = self.device.monitor().machine().position() else {
            return;
        };
        if let Some(report) = self.equipment.status(status, at) {
            self.device.monitor().report(report, effects);
        }
    }

    /// Takes note of whether a window of a boot was left out.
    pub(super) fn hear_of_window(
        &mut self,
        boot: BootId,
        start: SampleIndex,
        left_out: bool,
        effects: &mut Effects,
    ) {
        let view = self.device.view();
        let ours = view.record().is_some_and(|record| record.boot == boot);
        let Some((_, rate)) = self.now().filter(|_| ours) else {
            return;
        };
        if let Some(report) = self.equipment.window(start, left_out, rate) {
            self.device.monitor().report(report, effects);
        }
    }

    /// How far the open record is judged, and its base rate.
    fn now(&mut self) -> Option<(SampleIndex, SampleRate)> {
        let rate = self.device.view().layout()?.base_rate();
        Some((self.device.monitor().machine().position()?, rate))
    }

    /// Keeps what is shown of a device up to date, and tells whoever watches.
    pub(super) fn show(&mut self, id: &DeviceId, live: &mut Vec<Live>, bus: &LiveBus) {
        let watched = bus.is_watched(id);
        let mut changed = false;
        for item in live.drain(..) {
            match item {
                Live::Rate(rate) => {
                    // An ECG's rate goes before a pulse's.
                    let has_ecg = self
                        .device
                        .view()
                        .layout()
                        .is_some_and(ecg::Layout::has_ecg);
                    if rate.source == ecg::RateSource::Ecg || !has_ecg {
                        self.rate = Some(rate);
                        changed = true;
                    }
                }
                Live::Quality(quality) => {
                    let entry = (quality.signal, quality.score, quality.reason);
                    match self
                        .quality
                        .iter_mut()
                        .find(|known| known.0 == quality.signal)
                    {
                        Some(known) => *known = entry,
                        None => self.quality.push(entry),
                    }
                    changed = true;
                }
                Live::Beat(at) if watched => {
                    bus.publish(LiveEvent::Beat {
                        device: id.clone(),
                        at,
                    });
                }
                Live::Trace(trace, start) if watched => {
                    let Some(layout) = self.device.view().layout() else {
                        continue;
                    };
                    let signals = layout
                        .iter()
                        .zip(&trace.signals)
                        .map(|(spec, samples)| (spec.kind, to_thousandths(samples)))
                        .collect();
                    let (device, rate) = (id.clone(), trace.rate);
                    bus.publish(LiveEvent::Trace {
                        device,
                        start,
                        rate,
                        signals,
                    });
                }
                Live::Complex(measurement, at) => self.measurement = Some((measurement, at)),
                Live::Vitals(vitals, at) => {
                    self.vitals = Some((vitals, at));
                    changed = true;
                }
                Live::Beat(_) | Live::Pulse(_) | Live::Trace(..) => {}
            }
        }
        if changed && watched {
            bus.publish(LiveEvent::Status(Box::new(self.status(id))));
        }
    }

    /// How it is now.
    pub(super) fn status(&self, id: &DeviceId) -> DeviceStatus {
        let view = self.device.view();
        // A rate that nothing has confirmed for long is no rate: during an asystole there is none.
        let rate = self
            .rate
            .filter(|rate| view.seconds_after(rate.at) <= RATE_SECONDS);
        // What was measured in an earlier record is at another instant of this one.
        let fresh = |position: SampleIndex, at: Utc| {
            view.seconds_after(position) <= MEASUREMENT_SECONDS
                && view.anchor().is_some_and(|anchor| {
                    let apart = anchor.utc(position).seconds_since(at);
                    apart.abs() <= MEASUREMENT_SECONDS
                })
        };
        let (measurement, vitals) = (self.measurement.clone(), self.vitals.clone());
        DeviceStatus {
            device: id.clone(),
            online: self.online,
            last_seen: self.device.last_arrival(),
            record: view.record().map(|record| record.boot.to_string()),
            synthetic: self.synthetic && self.drawable().is_ok(),
            signals: view
                .layout()
                .map(|layout| layout.iter().map(|spec| (spec.kind, spec.rate)).collect())
                .unwrap_or_default(),
            bpm: rate.map(|rate| rate.bpm),
            rate_source: rate.map(|rate| rate.source),
            quality: self.quality.clone(),
            pulse: self
                .pulse
                .filter(|(boot, _)| view.record().is_some_and(|record| record.boot == *boot))
                .map(|(_, pulse)| pulse),
            measurement: measurement.filter(|(measurement, at)| fresh(measurement.r_peak, *at)),
            vitals: vitals.filter(|(vitals, at)| fresh(vitals.at, *at)),
            findings: self.course.current().map(Found::from).collect(),
            battery_percent: self.device.battery_percent(),
            patient: self.patient.clone(),
            limits: self.limits,
        }
    }
}
