//! What a patient costs: `cargo bench --bench patient`. One thread, no broker and no database; the shipped models.
//!
//! An item is a second of one patient with II, V1 and V5 at 250 Hz, so `ns` and `us` of the fastest column are processor time
//! per patient-second. Patients take turns, second by second, as they do in the service: with many of them their state is no
//! longer in the cache.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ecg::simulate::{Rhythm, Scenario};
use ecg::{BootId, DeviceId, Lead, SampleRate, Utc};
use einthoven::config::Config;
use einthoven::device::{Device, Watermark};
use einthoven::monitor::{Effects, Known, Monitor};
use einthoven::pipeline;
use einthoven::wearable::Simulated;
use infer::{Reader, When, WindowTask};
use ingest::Packet;

const LEADS: [Lead; 3] = [Lead::II, Lead::V1, Lead::V5];
/// Packets come around after so many seconds.
const SECONDS: usize = 120;

fn main() {
    divan::main();
}

fn config() -> Config {
    Config::load(None, [], &[]).expect("the defaults can be used")
}

/// The packets of one wearable, encoded.
fn packets(seed: u32) -> Vec<Vec<u8>> {
    let rate = SampleRate::new(250.0).expect("within the limits");
    let mut scenario = Scenario::new(seed.into(), rate);
    let rhythm = match seed % 4 {
        0 => Rhythm::AtrialFibrillation { bpm: 95.0 },
        k => Rhythm::Sinus {
            bpm: 60.0 + 10.0 * f64::from(k),
        },
    };
    scenario.rhythms = vec![(rhythm, f64::INFINITY)];
    let mut wearable = Simulated::new(&scenario, &LEADS, BootId(seed), Utc(0)).expect("it can be");
    let second = |_| wearable.second().expect("samples within range").encode();
    (0..SECONDS).map(second).collect()
}

/// Parses a packet of a second.
#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let config = config();
    let packets = packets(1);
    let mut next = packets.iter().cycle();
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        Packet::parse(next.next().expect("endless"), &config.packet).expect("it is well formed")
    });
}

/// A patient: packets, and the device that takes them.
struct Patient {
    device: Device<()>,
    packets: Vec<Packet>,
}

impl Patient {
    fn new(k: u32, config: &Config) -> Self {
        let id: DeviceId = format!("patient-{k}").parse().expect("a name for a device");
        let machine = alarm::Machine::new(id.clone(), &config.alarm, alarm::Limits::default());
        let monitor = Monitor::new(config.dsp.clone(), machine);
        let device = Device::new(id, &config.resequence, &config.clock, true, monitor, None);
        Self {
            device,
            packets: Vec::new(),
        }
    }

    /// Takes the packet of a second; what came of it is durable at once.
    fn second(&mut self, second: usize, effects: &mut Effects) {
        let mut packet = self.packets[second % SECONDS].clone();
        // Around and around, but it never says so.
        packet.sequence = second as u64;
        packet.first_sample.0 = 250 * second as u64;
        let now = Utc(0).plus_seconds(second as f64);
        packet.device_time = now;
        self.device.packet(packet, (), now, effects);
        for update in &effects.batch.records {
            self.device.committed(Watermark {
                boot: update.record.boot,
                durable_until: update.durable_until,
                ended: update.ended,
            });
        }
    }
}

fn patients(n: u32) -> Vec<Patient> {
    let config = config();
    let scripts: Vec<Vec<Packet>> = (0..n.min(16))
        .map(|seed| {
            let packets = packets(seed);
            let parse =
                |bytes: &Vec<u8>| Packet::parse(bytes, &config.packet).expect("well formed");
            packets.iter().map(parse).collect()
        })
        .collect();
    let mut patients: Vec<Patient> = (0..n).map(|k| Patient::new(k, &config)).collect();
    for (k, patient) in patients.iter_mut().enumerate() {
        patient.packets.clone_from(&scripts[k % scripts.len()]);
        for second in 0..40 {
            patient.second(second, &mut Effects::default());
        }
    }
    patients
}

/// From a parsed packet to facts, alarms, rows and windows. Prints how much memory a patient takes.
#[divan::bench(args = [1, 100, 1000], sample_count = 20)]
fn monitor(bencher: Bencher<'_, '_>, n: u32) {
    let mut patients = patients(n);
    let mut second = 40;
    let bytes: usize = patients.iter().map(|p| p.device.view().state_bytes()).sum();
    #[expect(clippy::print_stdout, reason = "beside the times, what they are for")]
    {
        println!("state: {} bytes a patient", bytes / patients.len());
    }
    bencher.counter(ItemsCount::new(n * 20)).bench_local(|| {
        for _ in 0..20 {
            for patient in &mut patients {
                let mut effects = Effects::default();
                patient.second(second, &mut effects);
                black_box(effects);
            }
            second += 1;
        }
    });
}

/// Twelve leads and all findings of a window: one comes each five seconds.
#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let reader: Reader = pipeline::reader(&config()).expect("the shipped models load");
    let mut effects = Effects::default();
    let mut patient = patients(1).remove(0);
    for second in 40..80 {
        patient.second(second, &mut effects);
    }
    let tasks: Vec<WindowTask> = effects
        .windows
        .into_iter()
        .map(
            |Known {
                 window, stretch, ..
             }| WindowTask {
                window: window.into(),
                calibration: None,
                stretch,
            },
        )
        .collect();
    let mut next = tasks.iter().cycle();
    bencher.counter(ItemsCount::new(5u32)).bench_local(|| {
        reader
            .read(next.next().expect("endless"), When::Window)
            .expect("a whole window")
    });
}
