//! Devices that misbehave among those that do not.

use std::time::Duration;

use ecg::simulate::{Rhythm, Scenario};
use ecg::{BootId, DeviceId, Lead, SampleRate, Utc};
use einthoven::wall;
use einthoven::wearable::Simulated;
use ingest::Packet;
use ingest::mqtt::{Publisher, PublisherConfig};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// Packets of sinus rhythm, one a second, the last of them taken now.
pub(crate) fn packets(seed: u64, boot: u32, seconds: u32) -> Vec<Packet> {
    let scenario = Scenario {
        rhythms: vec![(Rhythm::Sinus { bpm: 70.0 }, f64::from(seconds))],
        ..Scenario::new(seed, SampleRate::new(250.0).unwrap())
    };
    let start = wall::utc().plus_seconds(-f64::from(seconds));
    let leads = [Lead::II, Lead::V1, Lead::V5];
    let mut wearable = Simulated::new(&scenario, &leads, BootId(boot), start).unwrap();
    (0..seconds).map(|_| wearable.second().unwrap()).collect()
}

/// What a broken or hostile device sends instead of a packet: each kind of nonsense that there is, in turn.
pub(crate) fn nonsense(rng: &mut StdRng, valid: &[Packet], k: usize) -> Vec<u8> {
    let mut good = valid[k % valid.len()].encode();
    let place = rng.random_range(0..good.len());
    match k % 8 {
        // Noise.
        0 => {
            let mut noise = vec![0; rng.random_range(0..2000)];
            rng.fill_bytes(&mut noise);
            noise
        }
        // A packet cut short.
        1 => good[..place].to_vec(),
        // A bit on the way.
        2 => {
            good[place] ^= 1 << rng.random_range(0..8);
            good
        }
        // Counts and lengths beyond all bounds.
        3 => {
            good.splice(
                place..place,
                [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            );
            good
        }
        // More than a packet may be.
        4 if k % 64 == 4 => vec![rng.random(); 300_000],
        // JSON without a bottom.
        5 if k % 64 == 5 => vec![b'['; 50_000],
        5 => {
            let mut text = b"{\"boot\":1,\"sequence\":1e308,\"signals\":".to_vec();
            text.resize(text.len() + 500, b'[');
            text
        }
        // Nothing at all.
        6 => Vec::new(),
        // Two packets in one.
        _ => [good.clone(), good].concat(),
    }
}

/// A device that may send much at once.
pub(crate) async fn connect(url: &str, name: &str) -> Publisher {
    let device: DeviceId = name.parse().unwrap();
    let config = PublisherConfig {
        inflight: 2000,
        reconnect_max: Duration::from_secs(1),
        ..PublisherConfig::new(url)
    };
    Publisher::connect(config, &device).await.unwrap()
}

/// Sends `payload` after `payload` for so long, as fast as the broker takes them, but so many at most. How many.
pub(crate) async fn flood(
    url: String,
    name: String,
    duration: Duration,
    most: usize,
    mut payload: impl FnMut(usize) -> Vec<u8>,
) -> usize {
    let mut publisher = connect(&url, &name).await;
    let until = tokio::time::Instant::now() + duration;
    let mut k = 0;
    while k < most && tokio::time::Instant::now() < until {
        publisher.publish(payload(k)).await.unwrap();
        k += 1;
    }
    publisher.close().await.unwrap();
    k
}

/// The same packets from a clock that leaps by hours, back and forth.
pub(crate) fn leaping(packets: Vec<Packet>, seed: u64) -> Vec<Packet> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut off = 0.0;
    let leap = |mut packet: Packet| {
        if rng.random_bool(0.05) {
            off = rng.random_range(-6.0..6.0) * 3600.0;
        }
        packet.device_time = Utc::plus_seconds(packet.device_time, off);
        packet
    };
    packets.into_iter().map(leap).collect()
}
