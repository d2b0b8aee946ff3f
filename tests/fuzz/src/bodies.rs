//! What is done with hostile bytes, and what must hold whatever they are.
//!
//! Each function is the body of one fuzz target and also runs over `corpus/` in the tests of the
//! root package. **None may panic, and none may take more memory than a small multiple of its
//! input and its limit.** A file is never touched.

use std::io::{self, Cursor};
use std::path::Path;

use ecg::{BootId, Layout, Lead, SampleIndex, SampleRate, SignalKind, SignalSpec, Utc, Wavelength};
use einthoven::record::annotation::Annotations;
use einthoven::record::{Error, Files, Player, Record, Signal, Source};
use ingest::{Limits, Ordered, Packet, PacketSignal, Resequencer, resequence};

/// The most samples that a hostile record may have here.
const MAX_SAMPLES: u64 = 1 << 16;

/// Files by name.
struct Memory<'a>(Vec<(&'static str, &'a [u8])>);

impl Files for Memory<'_> {
    fn open(&self, path: &Path) -> Result<(Box<dyn Source + '_>, u64), Error> {
        let file = self.0.iter().find(|(name, _)| path == Path::new(name));
        let (_, bytes) = file.ok_or_else(|| Error::Read {
            path: path.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        })?;
        Ok((Box::new(Cursor::new(*bytes)), bytes.len() as u64))
    }

    fn exists(&self, path: &Path) -> bool {
        self.0.iter().any(|(name, _)| path == Path::new(name))
    }
}

/// A WFDB record: the header `r.hea` and that of its segment `s.hea`, each ended by a zero byte,
/// then the signal file `a`; `b` is its second half.
pub fn wfdb(bytes: &[u8]) {
    let (header, rest) = split_at_zero(bytes);
    let (segment, samples) = split_at_zero(rest);
    let files = Memory(vec![
        ("r.hea", header),
        ("s.hea", segment),
        ("a", samples),
        ("b", &samples[samples.len() / 2..]),
    ]);
    check_record(Record::open_in(&files, Path::new("r"), MAX_SAMPLES));
}

/// An EDF or EDF+ file.
pub fn edf(bytes: &[u8]) {
    let files = Memory(vec![("r.edf", bytes)]);
    check_record(Record::open_in(&files, Path::new("r.edf"), MAX_SAMPLES));
}

/// A WFDB annotation file: what is read can be written and is read again as the same.
pub fn annotation(bytes: &[u8]) {
    let found = match Annotations::parse(bytes) {
        Ok(found) => found,
        Err(fault) => return assert!(!fault.to_string().is_empty()),
    };
    assert!(found.list.len() <= bytes.len() / 2);
    assert!(found.list.is_sorted_by_key(|annotation| annotation.at));
    if let Ok(written) = found.encode() {
        assert_eq!(Annotations::parse(&written).as_ref(), Ok(&found));
    }
}

/// A packet in either encoding: what parses survives being encoded and parsed again.
pub fn packet(bytes: &[u8]) {
    let limits = Limits::default();
    let packet = match Packet::parse(bytes, &limits) {
        Ok(packet) => packet,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    packet.check(&limits).unwrap();
    let block = packet.to_block();
    assert_eq!(block.end(), packet.end());
    let mut samples = block.signals.iter().flat_map(|signal| &signal.samples);
    assert!(samples.all(|sample| sample.is_finite()));
    for encoded in [packet.encode(), packet.encode_json()] {
        // The text of a packet may be longer than its bytes were.
        if encoded.len() <= limits.payload_bytes {
            assert_eq!(Packet::parse(&encoded, &limits).unwrap(), packet);
        }
    }
}

/// Packets of one device in any order, eight bytes each: memory stays bounded, what is kept comes
/// out once, and the record only grows.
pub fn resequence(bytes: &[u8]) {
    let config = resequence::Config {
        max_held_packets: 8,
        max_held_samples: 400,
        ..resequence::Config::default()
    };
    let (mut resequencer, mut ordered) = (Resequencer::new(config), Vec::new());
    let (mut sequence, mut position, mut kept) = (0, 0, 0);
    for code in bytes.as_chunks().0 {
        let packet = packet_of(*code, sequence, position);
        if packet.check(&Limits::default()).is_err() {
            continue;
        }
        (sequence, position) = (packet.sequence + 1, packet.end().0);
        kept += usize::from(resequencer.push(packet, &mut ordered).is_kept());
        assert!(resequencer.n_held() <= 8, "{} held", resequencer.n_held());
    }
    resequencer.end(&mut ordered);
    assert_eq!(resequencer.n_held(), 0);
    let mut at = None;
    for piece in &ordered {
        match piece {
            Ordered::Start { at: start, .. } => {
                assert_eq!(at, None, "a record within a record");
                at = Some(*start);
            }
            Ordered::Block { block, .. } => {
                assert_eq!(at, Some(block.start));
                at = Some(block.end());
                kept -= 1;
            }
            Ordered::Gap(gap) => {
                assert_eq!(at, Some(gap.start));
                assert!(gap.end > gap.start);
                at = Some(gap.end);
            }
            Ordered::End { at: end, .. } => {
                assert_eq!(at, Some(*end));
                at = None;
            }
        }
    }
    assert_eq!((at, kept), (None, 0));
}

/// The packet that eight bytes describe: its boot, its signals, its place after the one before or
/// anywhere, and its length.
fn packet_of(code: [u8; 8], sequence: u64, position: u64) -> Packet {
    let [what, n_samples, ahead, behind, a, b, c, d] = code;
    let anywhere = u64::from(u32::from_le_bytes([a, b, c, d]));
    let (sequence, first_sample) = match what & 3 {
        // As a device would.
        0 | 1 => (
            (sequence + u64::from(ahead)).saturating_sub(u64::from(behind)),
            (position + u64::from(a)).saturating_sub(u64::from(b)),
        ),
        2 => (anywhere & 0xff, anywhere >> 8),
        // Near the largest that a packet may say.
        _ => (
            (1 << 53) - 1 - u64::from(ahead),
            (1 << 53) - 1 - (anywhere & 0xffff),
        ),
    };
    let lead = |hz: f64| SignalSpec {
        kind: SignalKind::Ecg(Lead::II),
        rate: SampleRate::new(hz).unwrap(),
    };
    let specs = match what >> 2 & 3 {
        0 => vec![lead(100.0)],
        1 => vec![lead(250.0)],
        2 => vec![lead(360.5)],
        _ => vec![
            lead(200.0),
            SignalSpec {
                kind: SignalKind::Ppg(Wavelength::Green),
                rate: SampleRate::new(100.0).unwrap(),
            },
        ],
    };
    let signals = specs
        .iter()
        .enumerate()
        .map(|(k, _)| PacketSignal {
            gain: 200.0,
            baseline: 0,
            lead_off: false,
            samples: vec![1; usize::from(n_samples) / (k + 1)],
        })
        .collect();
    Packet {
        boot: BootId(u32::from(what >> 4)),
        sequence,
        first_sample: SampleIndex(first_sample),
        device_time: Utc(0),
        layout: Layout::new(&specs).unwrap(),
        signals,
        battery_percent: None,
    }
}

/// What must hold of every record that is read, and of what is played from it.
fn check_record(read: Result<Record, Error>) {
    let record = match read {
        Ok(record) => record,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let mut n_samples = 0;
    for signal in &record.signals {
        let n = signal.samples.len() as u64;
        assert_eq!(n, record.n_frames * signal.per_frame);
        assert!(
            signal.gain > 0.0 && signal.gain.is_finite(),
            "{}",
            signal.gain
        );
        assert_eq!(signal.sample(signal.samples.len()), None);
        n_samples += n;
    }
    assert!(n_samples <= MAX_SAMPLES, "{n_samples} samples");
    match Player::new(record, &[""; 0]) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(player) => check_played(player),
    }
}

/// The blocks are the whole record, one after the other.
fn check_played(player: Player) {
    let (record, names) = (player.record().clone(), player.signals().to_vec());
    let promised = player.len();
    let mut n_samples = vec![0; names.len()];
    let mut n_blocks = 0;
    for block in player {
        assert_eq!(block.start.0, n_samples[0] as u64);
        for (n, signal) in n_samples.iter_mut().zip(&block.signals) {
            *n += signal.samples.len();
        }
        n_blocks += 1;
    }
    assert_eq!(n_blocks, promised);
    for (played, n) in names.iter().zip(n_samples) {
        let whole = |signal: &Signal| signal.name == played.name && signal.samples.len() == n;
        assert!(record.signals.iter().any(whole), "{} has {n}", played.name);
    }
}

/// What is before the first zero byte, and what is after it.
fn split_at_zero(bytes: &[u8]) -> (&[u8], &[u8]) {
    let zero = bytes.iter().position(|&byte| byte == 0);
    zero.map_or((bytes, &[]), |at| (&bytes[..at], &bytes[at + 1..]))
}
