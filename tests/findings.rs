//! What is found in the signals: the API gives it with what it rests on, and that can be found again from the strip alone.

use std::time::Duration;

use ecg::simulate::{Rhythm, Scenario};
use ecg::{BootId, Lead, SampleIndex, SampleRate};
use einthoven::wearable::Simulated;
use serde_json::Value;

use crate::support::program::Service;
use crate::support::record::publish_paced;
use crate::support::servers::{Database, Mosquitto};
use crate::support::wait_for;

const LEADS: [Lead; 3] = [Lead::II, Lead::V1, Lead::V5];

const PATIENCE: Duration = Duration::from_secs(20);

/// Between packets, each of a second.
const PAUSE: Duration = Duration::from_millis(80);

fn send(broker: &Mosquitto, device: &str, scenario: &Scenario, seconds: u32) {
    send_leads(broker, device, scenario, &LEADS, seconds);
}

fn send_leads(broker: &Mosquitto, device: &str, scenario: &Scenario, leads: &[Lead], seconds: u32) {
    let start = einthoven::wall::utc().plus_seconds(-f64::from(seconds));
    let mut wearable = Simulated::new(scenario, leads, BootId(1), start).unwrap();
    let packets = (0..seconds).map(|_| wearable.second().unwrap().encode());
    publish_paced(&broker.url(), device, packets.collect(), PAUSE);
}

fn named<'a>(found: &'a Value, name: &str) -> Option<&'a Value> {
    found.as_array()?.iter().find(|f| f["name"] == name)
}

#[test]
fn fibrillation_is_an_episode_with_its_evidence() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let service = Service::run(dir.path(), &broker, &database, "");
    let mut scenario = Scenario::new(3, SampleRate::new(250.0).unwrap());
    scenario.rhythms = vec![(Rhythm::AtrialFibrillation { bpm: 95.0 }, f64::INFINITY)];
    send(&broker, "af", &scenario, 60);
    send(&broker, "calm", &Scenario::new(5, scenario.rate), 60);

    let path = "/api/v1/devices/af/findings";
    let episode = wait_for("an episode", Duration::from_secs(30), || {
        let answer = service.json(path);
        named(&answer["episodes"], "atrial_fibrillation").cloned()
    });
    assert_eq!(episode["snomed"], 164_889_003);
    assert!(episode["probability"].as_f64().unwrap() > 0.5, "{episode}");
    let first = &episode["first"];
    assert_eq!(first["source"], episode["source"]);
    assert!(first["model"]["sha256"].as_str().unwrap().len() == 64);
    assert!(first["evidence"]["text"].as_str().unwrap().contains("RR"));
    assert!(first["evidence"]["beats"].as_array().unwrap().len() > 8);
    for (lead, origin) in first["leads"].as_object().unwrap() {
        assert_eq!(origin, "measured", "{lead}");
    }

    // It alarms, and the signals on which it did are there.
    let strip = episode["strip"].as_str().unwrap();
    // Of a burst after which nothing comes, at the latest when the record is closed.
    wait_for("its strip", Duration::from_secs(60), || {
        (service.status(strip) == 200).then_some(())
    });
    let kept = service.json(strip);
    assert!(strip.ends_with(kept["alarm"].as_str().unwrap()));
    assert!(kept["seconds"].as_f64().unwrap() > 8.0);

    // Another heart has none, and its state says what it has.
    let calm = wait_for("the calm one's state", Duration::from_secs(30), || {
        let device = service.json("/api/v1/devices/calm");
        let found = device["findings"].as_array().is_some_and(|f| !f.is_empty());
        found.then_some(device)
    });
    assert_eq!(named(&calm["findings"], "atrial_fibrillation"), None);
    let answer = service.json("/api/v1/devices/calm/findings");
    assert_eq!(named(&answer["episodes"], "atrial_fibrillation"), None);

    // On request, with what each classifier looked at.
    let examined = service.json("/api/v1/devices/calm/twelve-lead/findings");
    for finding in examined["findings"].as_array().unwrap() {
        if finding["source"] == "superclass-12" {
            let leads = finding["evidence"]["by_lead"].as_object().unwrap();
            assert_eq!(leads.len(), 12, "{finding}");
        }
    }
    assert_eq!(
        service.status("/api/v1/devices/nobody/twelve-lead/findings"),
        404
    );
    assert_eq!(service.status("/api/v1/devices/af/findings?limit=0"), 422);
    // Switched off, as it ships.
    assert_eq!(calm["synthetic"], false);
    assert_eq!(service.status("/api/v1/devices/calm/surrogate"), 404);
    assert!(service.text("/metrics").contains("infer_findings_total{"));
}

/// Of wearables without electrodes.
#[test]
fn fibrillation_is_told_from_a_pulse_alone_and_what_is_unusable_tells_nothing() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let service = Service::run(
        dir.path(),
        &broker,
        &database,
        "[infer]\nsurrogate = true\n",
    );
    let mut scenario = Scenario::new(3, SampleRate::new(250.0).unwrap());
    scenario.ppg_rate = Some(SampleRate::new(50.0).unwrap());
    send_leads(&broker, "calm", &scenario, &[], 60);
    is_drawn(&service, "calm");
    scenario.rhythms = vec![(Rhythm::VentricularFibrillation, f64::INFINITY)];
    send_leads(&broker, "dead", &scenario, &[], 60);
    let surrogate = |device: &str| service.status(&format!("/api/v1/devices/{device}/surrogate"));
    wait_for("a wave of which nothing is drawn", PATIENCE, || {
        (surrogate("dead") == 409).then_some(())
    });
    scenario.rhythms = vec![(Rhythm::AtrialFibrillation { bpm: 95.0 }, f64::INFINITY)];
    send_leads(&broker, "af", &scenario, &[], 75);

    let episode = wait_for("an episode", Duration::from_secs(30), || {
        let answer = service.json("/api/v1/devices/af/findings");
        named(&answer["episodes"], "pulse_atrial_fibrillation").cloned()
    });
    assert_eq!(episode["source"], "ppg-rhythm-1");
    let evidence = &episode["first"]["evidence"];
    let text = evidence["text"].as_str().unwrap();
    assert!(text.starts_with("irregular pulse intervals"), "{text}");
    assert!(text.ends_with("PPG-green"), "{text}");
    assert!(evidence["beats"].as_array().unwrap().len() > 20);
    let alarm = wait_for("an alarm", Duration::from_secs(30), || {
        let alarms = service.json("/api/v1/alarms?device=af");
        let of_it = |alarm: &&Value| alarm["condition"] == "atrial_fibrillation";
        alarms["alarms"].as_array()?.iter().find(of_it).cloned()
    });
    assert_eq!(alarm["priority"], "medium");
    let strip = episode["strip"].as_str().unwrap();
    assert!(strip.ends_with(alarm["id"].as_str().unwrap()));

    let asked = |device: &str| {
        wait_for("the pulse's state", Duration::from_secs(30), || {
            let pulse = service.json(&format!("/api/v1/devices/{device}"))["pulse_rhythm"].take();
            (pulse["asked"].as_u64()? >= 9).then_some(pulse)
        })
    };
    let (calm, dead) = (asked("calm"), asked("dead"));
    assert_eq!(calm["unusable"], 0, "{calm}");
    assert_eq!(dead["unusable"], dead["asked"], "{dead}");
    for device in ["calm", "dead"] {
        let answer = service.json(&format!("/api/v1/devices/{device}/findings"));
        let found = named(&answer["episodes"], "pulse_atrial_fibrillation");
        assert_eq!(found, None, "{device}");
    }
    let answer = service.json("/api/v1/devices/calm/findings");
    assert!(named(&answer["episodes"], "pulse_sinus_rhythm").is_some());
    let metrics = service.text("/metrics");
    assert!(metrics.contains("infer_pulses_total{outcome=\"unusable\"}"));
}

/// A synthetic trace is there for who asks, called so, and nothing else of the device has an ECG.
fn is_drawn(service: &Service, device: &str) {
    let path = format!("/api/v1/devices/{device}");
    let drawn = wait_for("a synthetic trace", PATIENCE, || {
        let surrogate = format!("{path}/surrogate");
        (service.status(&surrogate) == 200).then(|| service.json(&surrogate))
    });
    assert_eq!(drawn["synthetic"], true);
    assert_eq!(drawn["drawn_from"], "PPG-green");
    assert_eq!(drawn["model"]["name"], "ppg-ecg-1");
    assert_eq!(drawn["model"]["sha256"].as_str().unwrap().len(), 64);
    assert!(drawn["notice"].as_str().unwrap().contains("not an ECG"));
    assert_eq!(drawn["seconds"].as_f64().unwrap(), 10.0);
    let samples = drawn["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 2500);
    let highest = samples.iter().filter_map(Value::as_i64).max().unwrap();
    assert!(highest > 200, "{highest} uV");
    let status = service.json(&path);
    assert_eq!(status["synthetic"], true);
    assert_eq!(status["measurement"], Value::Null);
    assert_eq!(service.status(&format!("{path}/twelve-lead")), 404);
    assert_eq!(service.status("/api/v1/devices/nobody/surrogate"), 404);
}

/// What the strip of an alarm says was found in it, and the strip itself.
fn strip_of(service: &Service, device: &str, condition: &str) -> Value {
    wait_for("the strip", Duration::from_secs(30), || {
        let alarms = service.json(&format!("/api/v1/alarms?device={device}"));
        let alarms = alarms["alarms"].as_array()?;
        let alarm = alarms
            .iter()
            .find(|alarm| alarm["condition"] == condition)?;
        Some(service.json(alarm["strip"].as_str()?))
    })
}

#[test]
fn what_a_strip_says_is_found_again_from_the_strip_alone() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let service = Service::run(dir.path(), &broker, &database, "");
    let mut scenario = Scenario::new(11, SampleRate::new(250.0).unwrap());
    scenario.rhythms = vec![
        (Rhythm::Sinus { bpm: 72.0 }, 25.0),
        (Rhythm::Sinus { bpm: 150.0 }, f64::INFINITY),
    ];
    for device in ["fast", "again"] {
        send(&broker, device, &scenario, 60);
    }
    let strip = strip_of(&service, "fast", "extreme_tachycardia");
    let findings = strip["findings"].as_array().unwrap();
    let tachycardia = findings.iter().find(|finding| {
        let name = finding["name"].as_str().unwrap();
        finding["source"] == "rule" && name.contains("tachycardia")
    });
    let tachycardia = tachycardia.unwrap_or_else(|| panic!("{findings:?}"));

    // The beats are R peaks of the strip: the chain, which sees nothing but the strip, finds them too.
    let rate = SampleRate::new(strip["rate_hz"].as_f64().unwrap()).unwrap();
    let measured: Vec<(Lead, Vec<f32>)> = strip["signals"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|signal| signal["origin"] == "measured")
        .map(|signal| {
            let samples = signal["samples"].as_array().unwrap().iter();
            #[expect(clippy::cast_possible_truncation, reason = "microvolts")]
            let mv = samples.map(|uv| uv.as_f64().unwrap() as f32 / 1000.0);
            (
                signal["name"].as_str().unwrap().parse().unwrap(),
                mv.collect(),
            )
        })
        .collect();
    let leads: Vec<(Lead, &[f32])> = measured
        .iter()
        .map(|(lead, mv)| (*lead, mv.as_slice()))
        .collect();
    let outputs = einthoven::windows::analyse(&leads, rate, &dsp::Config::default()).unwrap();
    let found: Vec<SampleIndex> = outputs
        .iter()
        .filter_map(|output| match output {
            dsp::Output::Beat(beat) => Some(beat.r_peak),
            _ => None,
        })
        .collect();
    let start = strip["start_sample"].as_u64().unwrap();
    let beats: Vec<u64> = tachycardia["evidence"]["beats"]
        .as_array()
        .unwrap()
        .iter()
        .map(|beat| beat.as_u64().unwrap() - start)
        .collect();
    assert!(beats.len() > 10);
    // Cold filters cost the strip's first beats.
    for beat in beats.iter().filter(|beat| **beat > 500) {
        let near = found.iter().any(|peak| peak.0.abs_diff(*beat) <= 2);
        assert!(near, "no R peak at {beat} of {found:?}");
    }
    // The rate follows from the beats that are named.
    let mut rr: Vec<u64> = beats.windows(2).map(|pair| pair[1] - pair[0]).collect();
    rr.sort_unstable();
    let bpm = 60.0 * rate.hz() / rr[rr.len() / 2] as f64;
    let values = tachycardia["evidence"]["values"].as_array().unwrap();
    let said = values
        .iter()
        .find(|value| value["name"] == "rate_bpm")
        .unwrap();
    assert!(
        (said["value"].as_f64().unwrap() - bpm).abs() < 1.0,
        "{said} {bpm}"
    );
    assert!(said["value"].as_f64() > said["above"].as_f64());

    // What the classifier says follows from the twelve leads of the strip.
    let library = infer::Library::shipped().unwrap();
    let reader = infer::Reader::new(library, infer::statements::Limits::default()).unwrap();
    let mut again = Vec::new();
    let mut failures = Vec::new();
    reader.classify(
        &twelve(&strip, rate),
        infer::When::Alarm,
        &mut again,
        &mut failures,
    );
    assert!(failures.is_empty());
    for finding in findings.iter().filter(|f| f["source"] == "superclass-12") {
        let name = finding["name"].as_str().unwrap();
        let own = again.iter().find(|own| own.label.name == name).unwrap();
        let off = f64::from(own.probability.unwrap()) - finding["probability"].as_f64().unwrap();
        assert!(off.abs() < 0.01, "{name} {off}");
    }

    // The same packets again: the same findings, whatever else went on.
    let other = strip_of(&service, "again", "extreme_tachycardia");
    assert_eq!(strip["findings"], other["findings"]);
}

/// The twelve leads of a strip.
fn twelve(strip: &Value, rate: SampleRate) -> ecg::TwelveLead {
    let signals = strip["signals"].as_array().unwrap();
    let mut samples = Vec::new();
    let origin = Lead::TWELVE.map(|lead| {
        let signal = signals.iter().find(|signal| signal["name"] == lead.name());
        let signal = signal.unwrap();
        let uv = signal["samples"].as_array().unwrap().iter();
        #[expect(clippy::cast_possible_truncation, reason = "microvolts")]
        samples.extend(uv.map(|uv| uv.as_f64().unwrap() as f32 / 1000.0));
        match signal["origin"].as_str().unwrap() {
            "measured" => ecg::LeadOrigin::Measured,
            "derived" => ecg::LeadOrigin::Derived,
            _ => ecg::LeadOrigin::Reconstructed,
        }
    });
    ecg::TwelveLead {
        start: SampleIndex(strip["start_sample"].as_u64().unwrap()),
        end: SampleIndex(strip["end_sample"].as_u64().unwrap()),
        rate,
        n_samples: samples.len() / 12,
        samples,
        origin,
        model: None,
        bands: Vec::new(),
        n_bands: 0,
        trust: None,
        withheld: None,
    }
}
