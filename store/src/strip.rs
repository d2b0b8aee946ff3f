//! Strips, packed small.
//!
//! The body of a row is a byte that names the format, 2, and a zlib stream (RFC 1950, so that a
//! damaged one is noticed by its checksum) of, in little-endian order:
//!
//! ```text
//! n_signals  u8
//! n_samples  u32   the same for every signal
//! then per signal:
//!   name     u8 length and as many bytes: II, aVR, PPG-red...
//!   origin   u8    0 measured, 1 derived, 2 reconstructed, 3 absent
//!   scale    f32   mV (PPG: arbitrary units) per step
//!   low      n_samples bytes  }  the low and the high bytes of the zigzagged differences between
//!   high     n_samples bytes  }  neighbouring samples in steps, modulo 2^16, from zero
//!   n_band   u32   values of half the width of the 90 % band; 0 where there is none
//!   band     n_band u16, uV, those over 65535 as 65535
//! ```
//!
//! Format 1, which older versions wrote, ends a signal before `n_band`.
//!
//! A sample is kept to half a step. An ECG lead has steps of 1 uV as long as it stays within
//! 32.767 mV; where it does not, and for PPG always, the step is the largest sample divided by
//! 32767, so that nothing clips.

use std::io::{Read, Write};

use ecg::{
    AlarmId, LeadOrigin, ModelRef, SampleIndex, SampleRate, SignalKind, Strip, StripSignal, Trust,
};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::database::read;
use crate::rows::{unsigned, word};
use crate::{AlarmStrip, Error, Store};

const FORMAT: u8 = 2;
/// Without bands.
const OLDER: u8 = 1;

/// More than any record has: sixteen measured signals and twelve leads.
const MAX_SIGNALS: usize = 32;

/// Over ten minutes at the highest rate. With [`MAX_SIGNALS`] it bounds what a row can make of
/// memory.
const MAX_SAMPLES: usize = 1 << 20;

/// The largest number of steps, the same on both sides of zero.
const MAX_STEPS: f64 = 32767.0;

const MICROVOLT: f64 = 0.001;

const ORIGINS: [LeadOrigin; 4] = [
    LeadOrigin::Measured,
    LeadOrigin::Derived,
    LeadOrigin::Reconstructed,
    LeadOrigin::Absent,
];

impl Store {
    /// The strip of an alarm, `None` as long as there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the row is damaged, and whatever the database has to say.
    pub async fn strip(&self, alarm: AlarmId) -> Result<Option<AlarmStrip>, Error> {
        #[derive(sqlx::FromRow)]
        struct Row {
            start_index: i64,
            end_index: i64,
            rate_hz: f64,
            model_name: Option<String>,
            model_version: Option<String>,
            model_sha256: Option<String>,
            trust: Option<f64>,
            novelty: Option<f64>,
            withheld: Option<String>,
            body: Vec<u8>,
            findings: Option<String>,
        }
        let row: Option<Row> = read!(self, pool => sqlx::query_as(
            "SELECT start_index, end_index, rate_hz, model_name, model_version, model_sha256,
                trust, novelty, withheld, body, findings
             FROM strips WHERE alarm = $1",
        )
        .bind(alarm.0)
        .fetch_optional(pool)
        .await)?;
        let Some(row) = row else { return Ok(None) };
        let named = |error| match error {
            Error::Corrupt(why) => Error::Corrupt(format!("strip of alarm {alarm}: {why}")),
            other => other,
        };
        let model = match (row.model_name, row.model_version, row.model_sha256) {
            (Some(name), Some(version), Some(sha256)) => Some(ModelRef {
                name,
                version,
                sha256,
            }),
            _ => None,
        };
        let strip = Strip {
            start: SampleIndex(unsigned("start", row.start_index).map_err(named)?),
            end: SampleIndex(unsigned("end", row.end_index).map_err(named)?),
            rate: SampleRate::new(row.rate_hz)
                .map_err(|error| named(Error::Corrupt(error.to_string())))?,
            signals: decode(&row.body).map_err(named)?,
            model,
            trust: trust(row.trust, row.novelty),
            withheld: row
                .withheld
                .as_deref()
                .map(word)
                .transpose()
                .map_err(named)?,
        };
        Ok(Some(AlarmStrip {
            alarm,
            strip,
            findings: row.findings,
        }))
    }
}

/// Two columns, both or neither of which are there.
#[expect(
    clippy::cast_possible_truncation,
    reason = "both were an f32 before they were stored"
)]
fn trust(score: Option<f64>, novelty: Option<f64>) -> Option<Trust> {
    Some(Trust {
        score: score? as f32,
        novelty: novelty? as f32,
    })
}

/// The body of a strip's row.
///
/// # Errors
/// [`Error::Refused`] for signals of different lengths, samples that are not finite, and more of
/// either than the limits allow.
pub(crate) fn encode(signals: &[StripSignal]) -> Result<Vec<u8>, Error> {
    let n_samples = signals.first().map_or(0, |signal| signal.samples.len());
    let refuse = |why: String| Err(Error::Refused(format!("strip: {why}")));
    if n_samples > MAX_SAMPLES {
        return refuse(format!(
            "{n_samples} samples, where {MAX_SAMPLES} are allowed"
        ));
    }
    let count = match u8::try_from(signals.len()) {
        Ok(count) if signals.len() <= MAX_SIGNALS => count,
        _ => {
            return refuse(format!(
                "{} signals, where {MAX_SIGNALS} are allowed",
                signals.len()
            ));
        }
    };
    let mut plain = vec![count];
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^20")]
    plain.extend((n_samples as u32).to_le_bytes());
    for signal in signals {
        if signal.samples.len() != n_samples {
            return refuse(format!(
                "{} has {} samples where the first signal has {n_samples}",
                signal.kind,
                signal.samples.len()
            ));
        }
        if let Some(at) = signal.samples.iter().position(|mv| !mv.is_finite()) {
            return refuse(format!(
                "sample {at} of {} is {}",
                signal.kind, signal.samples[at]
            ));
        }
        if let Some(at) = signal
            .band
            .iter()
            .position(|mv| !(mv.is_finite() && *mv >= 0.0))
        {
            return refuse(format!(
                "value {at} of the band of {} is {}",
                signal.kind, signal.band[at]
            ));
        }
        if signal.band.len() > n_samples {
            return refuse(format!(
                "the band of {} has {} values, where {n_samples} samples allow as many",
                signal.kind,
                signal.band.len()
            ));
        }
        encode_signal(signal, &mut plain);
    }
    let mut body = vec![FORMAT];
    let mut deflate = ZlibEncoder::new(&mut body, Compression::default());
    deflate
        .write_all(&plain)
        .and_then(|()| deflate.finish().map(drop))
        .map_err(|error| Error::Refused(format!("strip: {error}")))?;
    Ok(body)
}

fn encode_signal(signal: &StripSignal, plain: &mut Vec<u8>) {
    let name = signal.kind.name();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "signal names have at most 12 characters and there are four origins"
    )]
    {
        plain.push(name.len() as u8);
        plain.extend(name.as_bytes());
        plain.push(
            ORIGINS
                .iter()
                .position(|&origin| origin == signal.origin)
                .expect("every origin is in the table") as u8,
        );
    }
    let scale = scale(signal);
    plain.extend(scale.to_le_bytes());
    let mut previous = 0i16;
    let zigzags: Vec<[u8; 2]> = signal
        .samples
        .iter()
        .map(|&sample| {
            let steps = (f64::from(sample) / f64::from(scale)).round();
            #[expect(
                clippy::cast_possible_truncation,
                reason = "clamped to what 16 bits hold, which the choice of scale has seen to"
            )]
            let steps = steps.clamp(-MAX_STEPS, MAX_STEPS) as i16;
            let difference = steps.wrapping_sub(previous);
            previous = steps;
            ((difference << 1) ^ (difference >> 15)).to_le_bytes()
        })
        .collect();
    plain.extend(zigzags.iter().map(|bytes| bytes[0]));
    plain.extend(zigzags.iter().map(|bytes| bytes[1]));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "no more than samples, and clamped to what 16 bits hold"
    )]
    {
        plain.extend((signal.band.len() as u32).to_le_bytes());
        for half in &signal.band {
            let steps = (f64::from(*half) / MICROVOLT).round();
            plain.extend((steps.min(f64::from(u16::MAX)) as u16).to_le_bytes());
        }
    }
}

/// The size of a step, see the head of this file.
fn scale(signal: &StripSignal) -> f32 {
    let largest = signal.samples.iter().fold(0.0, |largest: f64, &sample| {
        largest.max(f64::from(sample).abs())
    });
    let within = signal.kind.lead().is_some() && largest <= MAX_STEPS * MICROVOLT;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounding the scale is what is meant; samples are counted in the rounded one"
    )]
    if within || largest == 0.0 {
        MICROVOLT as f32
    } else {
        ((largest / MAX_STEPS) as f32).max(f32::MIN_POSITIVE)
    }
}

/// The signals in the body of a strip's row.
///
/// # Errors
/// [`Error::Corrupt`] for anything that [`encode`] does not write. Never takes more memory than
/// the largest strip.
pub(crate) fn decode(body: &[u8]) -> Result<Vec<StripSignal>, Error> {
    let corrupt = |why: String| Error::Corrupt(why);
    let (banded, deflated) = match body.split_first() {
        Some((&FORMAT, deflated)) => (true, deflated),
        Some((&OLDER, deflated)) => (false, deflated),
        other => {
            let found = other.map(|(format, _)| format);
            return Err(corrupt(format!(
                "format is {found:?}, not {OLDER} or {FORMAT}"
            )));
        }
    };
    let mut plain = Plain(ZlibDecoder::new(deflated));
    let n_signals = usize::from(plain.bytes::<1>()?[0]);
    let n_samples = usize::try_from(u32::from_le_bytes(plain.bytes()?)).unwrap_or(usize::MAX);
    if n_signals > MAX_SIGNALS || n_samples > MAX_SAMPLES {
        return Err(corrupt(format!(
            "{n_signals} signals of {n_samples} samples, where {MAX_SIGNALS} of {MAX_SAMPLES} are allowed"
        )));
    }
    let signals = (0..n_signals)
        .map(|_| decode_signal(&mut plain, n_samples, banded))
        .collect::<Result<_, _>>()?;
    // Reading to the end is also what makes the decoder compare the checksum.
    match plain.0.read(&mut [0]) {
        Ok(0) => Ok(signals),
        Ok(_) => Err(corrupt("more bytes than signals".to_owned())),
        Err(error) => Err(corrupt(error.to_string())),
    }
}

fn decode_signal(
    plain: &mut Plain<'_>,
    n_samples: usize,
    banded: bool,
) -> Result<StripSignal, Error> {
    let [n_name] = plain.bytes()?;
    let name = plain.some(usize::from(n_name))?;
    let name = String::from_utf8_lossy(&name);
    let kind: SignalKind = name
        .parse()
        .map_err(|error: ecg::Error| Error::Corrupt(error.to_string()))?;
    let [origin] = plain.bytes()?;
    let origin = *ORIGINS
        .get(usize::from(origin))
        .ok_or_else(|| Error::Corrupt(format!("origin {origin} of {kind} is over 3")))?;
    let scale = f32::from_le_bytes(plain.bytes()?);
    if !(scale.is_finite() && scale > 0.0) {
        return Err(Error::Corrupt(format!(
            "scale {scale} of {kind} is not above 0"
        )));
    }
    let low = plain.some(n_samples)?;
    let high = plain.some(n_samples)?;
    let mut steps = 0i16;
    let samples = low
        .into_iter()
        .zip(high)
        .map(|(low, high)| {
            let zigzag = u16::from_le_bytes([low, high]);
            let difference = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
            steps = steps.wrapping_add(difference);
            // The largest sample of all may come out a rounding beyond what an f32 can be.
            let sample = f64::from(steps) * f64::from(scale);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a sample was an f32 before it was packed"
            )]
            {
                sample.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
            }
        })
        .collect();
    let band = if banded {
        decode_band(plain, kind, n_samples)?
    } else {
        Vec::new()
    };
    Ok(StripSignal {
        kind,
        origin,
        samples,
        band,
    })
}

fn decode_band(
    plain: &mut Plain<'_>,
    kind: SignalKind,
    n_samples: usize,
) -> Result<Vec<f32>, Error> {
    let n_band = usize::try_from(u32::from_le_bytes(plain.bytes()?)).unwrap_or(usize::MAX);
    if n_band > n_samples {
        return Err(Error::Corrupt(format!(
            "the band of {kind} has {n_band} values, where {n_samples} samples allow as many"
        )));
    }
    let bytes = plain.some(2 * n_band)?;
    #[expect(clippy::cast_possible_truncation, reason = "16 bits fit into an f32")]
    let half = |bytes: &[u8; 2]| (f64::from(u16::from_le_bytes(*bytes)) * MICROVOLT) as f32;
    Ok(bytes.as_chunks().0.iter().map(half).collect())
}

/// The inflated bytes, read piece by piece, so that only pieces of a checked size are held.
struct Plain<'a>(ZlibDecoder<&'a [u8]>);

impl Plain<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn some(&mut self, n: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; n];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.0
            .read_exact(bytes)
            .map_err(|error| Error::Corrupt(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use ecg::{Lead, Wavelength};
    use proptest::prelude::*;

    use super::*;

    fn signal(kind: SignalKind, samples: Vec<f32>) -> StripSignal {
        StripSignal {
            kind,
            origin: LeadOrigin::Derived,
            samples,
            band: Vec::new(),
        }
    }

    #[test]
    fn bands_come_back_to_half_a_microvolt() {
        let banded = |band: Vec<f32>| StripSignal {
            band,
            ..signal(SignalKind::Ecg(Lead::V2), vec![0.5; 8])
        };
        let back = decode(&encode(&[banded(vec![0.0, 0.1234, 65.0, 90.0])]).unwrap()).unwrap();
        for (back, half) in back[0].band.iter().zip([0.0, 0.1234, 65.0, 65.535]) {
            assert!((back - half).abs() <= 0.51e-3, "{back} {half}");
        }
        for (band, named) in [
            (vec![0.1, -0.1], "value 1 of the band of V2 is -0.1"),
            (vec![f32::NAN], "is NaN"),
            (vec![0.1; 9], "9 values"),
        ] {
            let error = encode(&[banded(band)]).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn strips_of_older_versions_are_read() {
        let mut body = vec![OLDER];
        let mut deflate = ZlibEncoder::new(&mut body, Compression::default());
        let plain = [1, 2, 0, 0, 0, 2, b'I', b'I', 0];
        deflate.write_all(&plain).unwrap();
        deflate.write_all(&0.001f32.to_le_bytes()).unwrap();
        // Zigzags of 3 and -1.
        deflate.write_all(&[6, 1, 0, 0]).unwrap();
        deflate.finish().unwrap();
        let signals = decode(&body).unwrap();
        assert_eq!(signals[0].samples, [0.003, 0.002]);
        assert!(signals[0].band.is_empty());
    }

    /// The largest difference between what goes in and what comes out.
    #[track_caller]
    fn check(signals: &[StripSignal]) -> f64 {
        let back = decode(&encode(signals).unwrap()).unwrap();
        assert_eq!(back.len(), signals.len());
        let mut worst = 0.0f64;
        for (there, back) in signals.iter().zip(&back) {
            assert_eq!((there.kind, there.origin), (back.kind, back.origin));
            assert_eq!(there.samples.len(), back.samples.len());
            let allowed = f64::from(scale(there)) / 2.0;
            for (a, b) in there.samples.iter().zip(&back.samples) {
                let error = f64::from((a - b).abs());
                assert!(
                    error <= allowed * 1.0001 + f64::from(a.abs() * f32::EPSILON),
                    "{a} {b}"
                );
                worst = worst.max(error);
            }
        }
        worst
    }

    #[test]
    fn an_ecg_comes_back_to_half_a_microvolt_and_small() {
        let lead = |k: usize| {
            let samples = (0..5000)
                .map(|i| {
                    let t = i as f32 / 500.0;
                    let beat = (-((t % 0.8 - 0.4) / 0.02).powi(2)).exp();
                    beat * (1.0 + k as f32 / 10.0) + 0.1 * (t * 1.9).sin()
                })
                .collect();
            signal(SignalKind::Ecg(Lead::TWELVE[k]), samples)
        };
        let signals: Vec<_> = (0..12).map(lead).collect();
        assert!(check(&signals) <= 0.5e-3 * 1.001);
        let size = encode(&signals).unwrap().len();
        assert!(size < 12 * 5000, "{size} bytes for {} samples", 12 * 5000);
    }

    #[test]
    fn nothing_clips() {
        let ecg = SignalKind::Ecg(Lead::II);
        let ppg = SignalKind::Ppg(Wavelength::Red);
        check(&[]);
        check(&[signal(ecg, vec![])]);
        for extreme in [0.0, 1e-45, 1e-9, 32.767, 32.7681, 1e6, f32::MAX] {
            check(&[
                signal(ecg, vec![extreme, -extreme, 0.0, extreme / 3.0]),
                signal(ppg, vec![-extreme, extreme, extreme / 7.0, 0.0]),
            ]);
        }
    }

    #[test]
    fn what_is_no_strip_is_refused() {
        let ecg = |samples| signal(SignalKind::Ecg(Lead::II), samples);
        for (signals, named) in [
            (vec![ecg(vec![0.0]), ecg(vec![])], "0 samples"),
            (vec![ecg(vec![0.0, f32::NAN])], "sample 1 of II is NaN"),
            (vec![ecg(vec![]); MAX_SIGNALS + 1], "33 signals"),
            (vec![ecg(vec![0.0; MAX_SAMPLES + 1])], "1048577 samples"),
        ] {
            let error = encode(&signals).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn hostile_sizes_are_refused_before_memory_is_taken() {
        let packed = |plain: &[u8]| {
            let mut body = vec![FORMAT];
            let mut deflate = ZlibEncoder::new(&mut body, Compression::default());
            deflate.write_all(plain).unwrap();
            deflate.finish().unwrap();
            body
        };
        for (plain, named) in [
            (&[255, 1, 0, 0, 0][..], "255 signals"),
            (&[1, 255, 255, 255, 255][..], "4294967295 samples"),
            (&[0, 0, 0, 0, 0, 7][..], "more bytes"),
            (
                &[1, 0, 0, 0, 0, 2, b'I', b'I', 9, 0, 0, 0, 0][..],
                "origin 9",
            ),
            (
                &[1, 0, 0, 0, 0, 2, b'I', b'I', 0, 0, 0, 0, 0][..],
                "scale 0",
            ),
            (
                &[1, 0, 0, 0, 0, 1, b'X', 0, 0, 0, 0, 0][..],
                "unknown signal",
            ),
        ] {
            let error = decode(&packed(plain)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_finite_samples_round_trip(samples in prop::collection::vec(-40f32..40.0, 0..300)) {
            check(&[
                signal(SignalKind::Ecg(Lead::V5), samples.clone()),
                signal(SignalKind::Ppg(Wavelength::Green), samples),
            ]);
        }

        #[test]
        fn damage_is_noticed_where_it_matters(
            samples in prop::collection::vec(-4f32..4.0, 1..100),
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let mut body = encode(&[signal(SignalKind::Ecg(Lead::V5), samples)]).unwrap();
            let whole = decode(&body).unwrap();
            let at = at.index(body.len());
            body[at] ^= flip;
            // Some bits of a zlib stream say nothing about what is in it, such as its padding.
            if let Ok(damaged) = decode(&body) {
                prop_assert_eq!(damaged, whole);
            }
            body.truncate(at);
            prop_assert!(decode(&body).is_err());
        }

        #[test]
        fn no_bytes_cause_a_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(&[&[FORMAT], &body[..]].concat()));
        }
    }
}
