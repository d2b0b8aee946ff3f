//! What is true of a simulated signal.

use crate::{BeatClass, Lead, SampleIndex, SignalKind};

use super::rhythm::Rhythm;

/// The truth of a span of signal. Positions are absolute, at the rate of the ECG.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Truth {
    /// The beats whose R peak lies in the span, in order. Their T wave and pulse may lie after it.
    pub beats: Vec<TrueBeat>,
    /// P waves that belong to no beat (blocked or dissociated) and peak in the span.
    pub lone_p: Vec<Fiducials>,
    /// The rhythms, without a gap, cut to the span.
    pub episodes: Vec<Episode>,
    /// Where electrodes or the PPG sensor were off, cut to the span, by start.
    pub contact_off: Vec<ContactOff>,
}

impl Truth {
    /// Adds the truth of the span that follows; what was cut between the two is joined again.
    pub fn append(&mut self, later: Truth) {
        self.beats.extend(later.beats);
        self.lone_p.extend(later.lone_p);
        for episode in later.episodes {
            self.add_episode(episode);
        }
        for off in later.contact_off {
            self.add_contact_off(off);
        }
    }

    pub(super) fn add_episode(&mut self, episode: Episode) {
        match self.episodes.last_mut() {
            Some(last) if last.rhythm == episode.rhythm && last.end == episode.start => {
                last.end = episode.end;
            }
            _ => self.episodes.push(episode),
        }
    }

    pub(super) fn add_contact_off(&mut self, off: ContactOff) {
        let before = self
            .contact_off
            .iter_mut()
            .rfind(|known| known.contact == off.contact);
        match before {
            Some(known) if known.end >= off.start => known.end = known.end.max(off.end),
            _ => self.contact_off.push(off),
        }
    }
}

/// A simulated heartbeat.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrueBeat {
    /// The extremum of the QRS complex in lead II.
    pub r_peak: SampleIndex,
    /// Its class.
    pub class: BeatClass,
    /// The P wave conducted to it, `None` where there is none.
    pub p: Option<Fiducials>,
    /// The QRS complex; its peak is the R peak.
    pub qrs: Fiducials,
    /// The T wave.
    pub t: Fiducials,
    /// The foot of its pulse in the PPG, `None` for a beat too weak to be felt. Known whether or not a PPG
    /// was asked for.
    pub pulse_onset: Option<SampleIndex>,
}

/// Where a wave begins, is largest (in lead II) and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fiducials {
    /// Its first sample.
    pub onset: SampleIndex,
    /// Its largest deflection.
    pub peak: SampleIndex,
    /// The first sample after it.
    pub offset: SampleIndex,
}

/// One rhythm, for as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Episode {
    /// Which.
    pub rhythm: Rhythm,
    /// Its first sample.
    pub start: SampleIndex,
    /// The first sample after it.
    pub end: SampleIndex,
}

/// Something that must touch the skin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    missing_docs,
    reason = "the electrodes of a 12-lead ECG document themselves"
)]
pub enum Contact {
    RA,
    LA,
    LL,
    V1,
    V2,
    V3,
    V4,
    V5,
    V6,
    /// The optical sensor of the PPG.
    Ppg,
}

impl Contact {
    /// Whether `signal` is spoilt while this contact is off. Chest leads are taken against Wilson's
    /// terminal, and the limb leads other than I and II follow from those two: they need all three
    /// limb electrodes.
    pub fn affects(self, signal: SignalKind) -> bool {
        let lead = match signal {
            SignalKind::Ppg(_) | SignalKind::Abp => return self == Contact::Ppg,
            SignalKind::Acceleration(_) => return false,
            SignalKind::Ecg(lead) => lead,
        };
        let limb = matches!(self, Contact::RA | Contact::LA | Contact::LL);
        match lead {
            Lead::I => matches!(self, Contact::RA | Contact::LA),
            Lead::II | Lead::Unstated => matches!(self, Contact::RA | Contact::LL),
            Lead::III | Lead::AVR | Lead::AVL | Lead::AVF => limb,
            Lead::V1 => limb || self == Contact::V1,
            Lead::V2 => limb || self == Contact::V2,
            Lead::V3 => limb || self == Contact::V3,
            Lead::V4 => limb || self == Contact::V4,
            Lead::V5 => limb || self == Contact::V5,
            Lead::V6 => limb || self == Contact::V6,
        }
    }
}

/// A contact that is off for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContactOff {
    /// Which.
    pub contact: Contact,
    /// The first sample without it.
    pub start: SampleIndex,
    /// The first sample with it again.
    pub end: SampleIndex,
}
