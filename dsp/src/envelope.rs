//! The envelope of the QRS band of one lead: high where a QRS complex is, low elsewhere.
//!
//! ```text
//! input --mean of k--> 250-500 Hz --band-pass--> [notch] --(wave, slope)--> magnitude --low-pass--> envelope
//! ```
//!
//! Causal; its delay is stated. The filters forget within two seconds. Samples with the electrode
//! off are passed over: the envelope is zero there, and afterwards the filters start anew from the
//! first good sample.

use biquad::Biquad as _;

use crate::Error;
use crate::config::Mains;
use crate::filter::{Cascade, Section};
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
    filters: Filters,
    notches: [Option<Section>; 2],
    notch: Option<usize>,
    finder: Option<MainsFinder>,
    delay: f64,
    /// The samples that the filters see start at zero.
    offset: Option<f64>,
}

/// What every sample runs through. Copies of it and of the notch live in registers while a stretch passes.
#[derive(Debug, Clone, Copy)]
struct Filters {
    band: [Section; 2],
    follow: Section,
    /// From a difference over two samples to a slope.
    slope: f64,
    last: [f64; 2],
}

impl Filters {
    /// Fills `out` with the envelope of a stretch of samples, at least one.
    ///
    /// While one sample is in the band-pass, the one before it is at the root and the one before that in the
    /// low-pass: **the same sums, but none waits for what the others do to its sample**.
    #[inline]
    fn run(
        &mut self,
        samples: &[f32],
        offset: f64,
        mut notch: impl FnMut(f64) -> f64,
        out: &mut [f32],
    ) {
        let mut own = *self;
        let mut power = |own: &mut Self, sample: &f32| own.power(*sample, offset, &mut notch);
        let mut squared = power(&mut own, &samples[0]);
        let mut root = squared.sqrt();
        let (last, outs) = out.split_last_mut().expect("there is a sample");
        let (second, outs) = match outs.split_last_mut() {
            Some((second, outs)) => (Some(second), outs),
            None => (None, outs),
        };
        if let Some(sample) = samples.get(1) {
            squared = power(&mut own, sample);
        }
        for (out, sample) in outs.iter_mut().zip(samples.iter().skip(2)) {
            *out = own.level(root);
            root = squared.sqrt();
            squared = power(&mut own, sample);
        }
        if let Some(second) = second {
            *second = own.level(root);
            root = squared.sqrt();
        }
        *last = own.level(root);
        *self = own;
    }

    /// The square of the magnitude of wave and slope.
    #[inline]
    fn power(&mut self, sample: f32, offset: f64, notch: impl FnOnce(f64) -> f64) -> f64 {
        let [one, two] = &mut self.band;
        let wave = notch(two.run(one.run(f64::from(sample) - offset)));
        let slope = (wave - self.last[1]) * self.slope;
        let middle = self.last[0];
        self.last = [wave, self.last[0]];
        middle * middle + slope * slope
    }

    /// What the envelope makes of a magnitude.
    #[inline]
    fn level(&mut self, magnitude: f64) -> f32 {
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let level = self.follow.run(magnitude).clamp(0.0, 1e6) as f32;
        level
    }

    fn reset(&mut self) {
        let [one, two] = &mut self.band;
        for section in [one, two, &mut self.follow] {
            section.reset_state();
        }
        self.last = [0.0; 2];
    }
}

impl Envelope {
    /// For a lead at `rate` Hz, already decimated.
    pub(crate) fn new(rate: f64, mains: Mains) -> Result<Self, Error> {
        let notch = |hz: f64| {
            let notch = (hz < 0.45 * rate).then(|| Cascade::notch(hz, NOTCH_Q, rate));
            notch.transpose().map(|notch| notch.as_ref().map(single))
        };
        let band = Cascade::bandpass(2, BAND.0, BAND.1, rate)?;
        let follow = Cascade::lowpass(2, FOLLOW_HZ, rate)?;
        let delay = band.group_delay(CENTRE_HZ, rate) + follow.group_delay(2.0, rate) + 1.0 / rate;
        let mut envelope = Self {
            filters: Filters {
                band: *band
                    .sections()
                    .as_array()
                    .expect("a band-pass of order two has two sections"),
                follow: single(&follow),
                slope: rate / (2.0 * std::f64::consts::TAU * CENTRE_HZ),
                last: [0.0; 2],
            },
            notches: [notch(50.0)?, notch(60.0)?],
            notch: None,
            finder: (mains == Mains::Auto).then(|| MainsFinder::new(rate)),
            delay,
            offset: None,
        };
        envelope.tune(mains);
        Ok(envelope)
    }

    /// Seconds from a QRS to its crest.
    pub(crate) fn delay(&self) -> f64 {
        self.delay
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
        self.filters.reset();
        for notch in self.notches.iter_mut().flatten() {
            notch.reset_state();
        }
        self.offset = None;
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
                notch.reset_state();
            }
        }
    }

    /// Fills `out` with the envelope of `samples`, the first of which has the absolute `index`; NaN in means
    /// electrode off.
    pub(crate) fn push(&mut self, index: u64, samples: &[f32], out: &mut [f32]) {
        let (mut done, mut judged) = (0, 0);
        while done < samples.len() {
            // What is found out at the end of a segment counts from its last sample on.
            let end = match &mut self.finder {
                Some(finder) => finder.push(index + judged as u64, &samples[judged..]),
                None => None,
            };
            let until = end.map_or(samples.len(), |(n, _)| judged + n - 1);
            self.filter(&samples[done..until], &mut out[done..until]);
            done = until;
            if let Some((n, mains)) = end {
                judged += n;
                self.tune(mains);
            }
        }
    }

    fn filter(&mut self, samples: &[f32], out: &mut [f32]) {
        let stretches = samples.chunk_by(|a, b| a.is_nan() == b.is_nan());
        let mut rest = out;
        for stretch in stretches {
            let (out, later) = rest.split_at_mut(stretch.len());
            rest = later;
            if stretch[0].is_nan() {
                if self.offset.is_some() {
                    self.rest();
                }
                out.fill(0.0);
                continue;
            }
            let offset = *self.offset.get_or_insert(f64::from(stretch[0]));
            if let Some(notch) = self.notch.and_then(|k| self.notches[k].as_mut()) {
                let mut own = *notch;
                self.filters.run(stretch, offset, |wave| own.run(wave), out);
                *notch = own;
            } else {
                self.filters.run(stretch, offset, |wave| wave, out);
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.finder.as_ref().map_or(0, MainsFinder::heap_bytes)
    }
}

/// The section of a filter that has one.
fn single(filter: &Cascade) -> Section {
    filter.sections()[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sample by sample, one filter after the other.
    #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
    fn slow(samples: &[f32], rate: f64) -> Vec<f32> {
        let mut band = Cascade::bandpass(2, BAND.0, BAND.1, rate).unwrap();
        let mut notch = Cascade::notch(50.0, NOTCH_Q, rate).unwrap();
        let mut follow = Cascade::lowpass(2, FOLLOW_HZ, rate).unwrap();
        let (mut offset, mut last) = (None, [0.0; 2]);
        let mut envelope = |sample: f32| {
            if sample.is_nan() {
                for filter in [&mut band, &mut notch, &mut follow] {
                    filter.reset();
                }
                (offset, last) = (None, [0.0; 2]);
                return 0.0;
            }
            let sample = f64::from(sample);
            let wave = notch.push(band.push(sample - *offset.get_or_insert(sample)));
            let slope = (wave - last[1]) * (rate / (2.0 * std::f64::consts::TAU * CENTRE_HZ));
            let squared = last[0] * last[0] + slope * slope;
            last = [wave, last[0]];
            follow.push(squared.sqrt()).clamp(0.0, 1e6) as f32
        };
        samples.iter().map(|sample| envelope(*sample)).collect()
    }

    proptest! {
        #[test]
        fn stretches_are_sums_of_samples(
            cuts in prop::collection::vec(1usize..70, 1..12),
            holes in prop::collection::vec(0usize..500, 0..4),
        ) {
            let n: usize = cuts.iter().sum();
            let mut samples: Vec<f32> = (0..n).map(|i| ((i * i) as f32 * 0.013).sin()).collect();
            for hole in holes {
                samples.iter_mut().skip(hole).take(1 + hole % 9).for_each(|s| *s = f32::NAN);
            }
            let mut envelope = Envelope::new(250.0, Mains::Hz50).unwrap();
            let mut out = vec![0.0; n];
            let mut at = 0;
            for cut in cuts {
                envelope.push(at as u64, &samples[at..at + cut], &mut out[at..at + cut]);
                at += cut;
            }
            prop_assert_eq!(out, slow(&samples, 250.0));
        }
    }
}
