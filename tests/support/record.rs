//! Simulated recordings on disk, and packets sent by hand.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ecg::simulate::{self, Scenario};
use ecg::{DeviceId, Lead};
use ingest::mqtt::{Publisher, PublisherConfig};

/// adu per mV in the files.
const GAIN: f64 = 400.0;

/// Writes `leads` of a simulation as a WFDB record in format 16 and returns its path.
pub(crate) fn write(
    dir: &Path,
    name: &str,
    scenario: &Scenario,
    seconds: f64,
    leads: &[Lead],
) -> PathBuf {
    let segment = simulate::record(scenario, seconds).unwrap();
    let mut header = format!(
        "{name} {} {} {}\n",
        leads.len(),
        scenario.rate.hz(),
        segment.n_samples
    );
    for lead in leads {
        writeln!(header, "{name}.dat 16 {GAIN}(0)/mV 16 0 0 0 0 {lead}").unwrap();
    }
    let columns: Vec<&[f32]> = leads
        .iter()
        .map(|&lead| segment.lead(lead).unwrap())
        .collect();
    let mut bytes = Vec::with_capacity(segment.n_samples * leads.len() * 2);
    for k in 0..segment.n_samples {
        for column in &columns {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "within the simulator's ±10 mV"
            )]
            let adu = (f64::from(column[k]) * GAIN).round() as i16;
            bytes.extend(adu.to_le_bytes());
        }
    }
    std::fs::write(dir.join(format!("{name}.hea")), header).unwrap();
    std::fs::write(dir.join(format!("{name}.dat")), bytes).unwrap();
    dir.join(name)
}

/// Publishes payloads as a device, and returns when the broker has acknowledged them.
pub(crate) fn publish(broker: &str, device: &str, payloads: Vec<Vec<u8>>) {
    publish_paced(broker, device, payloads, Duration::ZERO);
}

/// The same with a pause after each payload: of a burst the models see the newest windows only.
pub(crate) fn publish_paced(broker: &str, device: &str, payloads: Vec<Vec<u8>>, pause: Duration) {
    let device: DeviceId = device.parse().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut publisher = Publisher::connect(PublisherConfig::new(broker), &device)
            .await
            .unwrap();
        for payload in payloads {
            publisher.publish(payload).await.unwrap();
            tokio::time::sleep(pause).await;
        }
        publisher.close().await.unwrap();
    });
}
