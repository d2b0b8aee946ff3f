//! The envelope of the QRS band of one lead: high where a QRS complex is, low elsewhere.
//!
//! ```text
//! input --mean of k--> 250-500 Hz --band-pass--> [notch] --(wave, slope)--> magnitude --low-pass--> envelope
//! ```
//!
//! Causal; its delay is stated. The filters forget within two seconds. Samples with the electrode
//! off are passed over: the envelope is zero there, and afterwards the filters start anew from the
//! first good sample.

use crate::Error;
use crate::config::Mains;
use crate::filter::Cascade;
use crate::spectrum::MainsFinder;

/// The QRS band: above T waves and wander, below muscle.
const BAND: (f64, f64) = (6.0, 22.0);
/// What the envelope follows.
const FOLLOW_HZ: f64 = 7.0;
/// Where wave and slope weigh the same.
const CENTRE_HZ: f64 = 12.0;
const NOTCH_Q: f64 = 20.0;

/// The envelope of one lead.
#[derive(Debug)]
pub(crate) struct Envelope {
    band: Cascade,
    follow: Cascade,
    notches: [Option<Cascade>; 2],
    notch: Option<usize>,
    finder: Option<MainsFinder>,
    rate: f64,
    /// The samples that the filters see start at zero.
    offset: Option<f64>,
    last: [f64; 2],
}

impl Envelope {
    /// For a lead at `rate` Hz, already decimated.
    pub(crate) fn new(rate: f64, mains: Mains) -> Result<Self, Error> {
        let notch = |hz: f64| {
            (hz < 0.45 * rate)
                .then(|| Cascade::notch(hz, NOTCH_Q, rate))
                .transpose()
        };
        let mut envelope = Self {
            band: Cascade::bandpass(2, BAND.0, BAND.1, rate)?,
            follow: Cascade::lowpass(2, FOLLOW_HZ, rate)?,
            notches: [notch(50.0)?, notch(60.0)?],
            notch: None,
            finder: (mains == Mains::Auto).then(|| MainsFinder::new(rate)),
            rate,
            offset: None,
            last: [0.0; 2],
        };
        envelope.tune(mains);
        Ok(envelope)
    }

    /// Seconds from a QRS to its crest.
    pub(crate) fn delay(&self) -> f64 {
        self.band.group_delay(CENTRE_HZ, self.rate)
            + self.follow.group_delay(2.0, self.rate)
            + 1.0 / self.rate
    }

    /// Time zero.
    pub(crate) fn reset(&mut self) {
        self.rest();
        if let Some(finder) = &mut self.finder {
            finder.reset();
            self.notch = None;
        }
    }

    /// The filters alone start anew.
    fn rest(&mut self) {
        self.band.reset();
        self.follow.reset();
        for notch in self.notches.iter_mut().flatten() {
            notch.reset();
        }
        self.offset = None;
        self.last = [0.0; 2];
    }

    fn tune(&mut self, mains: Mains) {
        let notch = match mains {
            Mains::Hz50 => Some(0),
            Mains::Hz60 => Some(1),
            Mains::Auto | Mains::Off => None,
        };
        if notch != self.notch {
            self.notch = notch;
            if let Some(notch) = notch.and_then(|k| self.notches[k].as_mut()) {
                notch.reset();
            }
        }
    }

    /// The envelope at the absolute `index`; `None` in means electrode off.
    #[inline]
    pub(crate) fn push(&mut self, index: u64, sample: Option<f32>) -> f32 {
        if let Some(finder) = &mut self.finder
            && let Some(mains) = finder.push(index, sample.unwrap_or(0.0))
        {
            self.tune(mains);
        }
        let Some(sample) = sample else {
            if self.offset.is_some() {
                self.rest();
            }
            return 0.0;
        };
        let sample = f64::from(sample);
        let offset = *self.offset.get_or_insert(sample);
        let mut wave = self.band.push(sample - offset);
        if let Some(notch) = self.notch.and_then(|k| self.notches[k].as_mut()) {
            wave = notch.push(wave);
        }
        let slope = (wave - self.last[1]) * self.rate / (2.0 * std::f64::consts::TAU * CENTRE_HZ);
        let middle = self.last[0];
        self.last = [wave, self.last[0]];
        let envelope = self.follow.push((middle * middle + slope * slope).sqrt());
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let envelope = envelope.clamp(0.0, 1e6) as f32;
        envelope
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let notches = self.notches.iter().flatten().map(Cascade::heap_bytes);
        self.band.heap_bytes()
            + self.follow.heap_bytes()
            + notches.sum::<usize>()
            + self.finder.as_ref().map_or(0, MainsFinder::heap_bytes)
    }
}
