//! What to play: how many wearables, with what rhythms, over what links.

use std::fmt;
use std::str::FromStr;

use ecg::{DeviceId, Lead};

use super::Error;

/// What to play. Everything but the time at which it happens follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Where to publish.
    pub broker: String,
    /// How many wearables.
    pub devices: usize,
    /// For how many seconds of signal.
    pub seconds: u32,
    /// Times real time.
    pub speed: f64,
    /// All that is random follows from it.
    pub seed: u64,
    /// Devices are named so, with a number behind.
    pub prefix: String,
    /// How many different signals are made; devices share them. 0 for one of each device, but 64 at most.
    pub scripts: usize,
    /// What the signals show.
    pub mix: Mix,
    /// The leads that are measured, where there is an ECG.
    pub leads: Vec<Lead>,
    /// How bad the links are.
    pub bad: Bad,
    /// How many devices are watched for latencies.
    pub watched: usize,
}

/// How bad links and devices are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bad {
    /// Share of packets that never arrive.
    pub lose: f64,
    /// Share of packets that are sent twice.
    pub duplicate: f64,
    /// Packets are shuffled within so many neighbours; 1 for not at all.
    pub shuffle: u32,
    /// A packet waits for up to so many seconds of signal before it is sent, each by itself; from 1 on they overtake each
    /// other.
    pub jitter: f64,
    /// How often a device starts anew, per hour of signal.
    pub reboots: f64,
    /// The clocks of devices run up to so many parts per million too fast or too slow.
    pub drift_ppm: f64,
}

impl Default for Bad {
    fn default() -> Self {
        Self {
            lose: 0.0,
            duplicate: 0.0,
            shuffle: 1,
            jitter: 0.0,
            reboots: 0.0,
            drift_ppm: 0.0,
        }
    }
}

impl Plan {
    /// Devices at most.
    pub const MAX_DEVICES: usize = 20_000;
    /// Scripts that are made where the plan does not say how many.
    const SCRIPTS: usize = 64;
    /// How long a script is at most; a play that is longer begins it again.
    pub const SCRIPT_SECONDS: u32 = 600;
    /// How far a device's clock may be off by the end: what the service believes.
    const MAX_OFF_SECONDS: f64 = 4.0;

    /// `devices` wearables for `seconds`, with the broker at `broker`.
    pub fn new(broker: impl Into<String>, devices: usize, seconds: u32) -> Self {
        Self {
            broker: broker.into(),
            devices,
            seconds,
            speed: 1.0,
            seed: 1,
            prefix: "load".to_owned(),
            scripts: 0,
            mix: Mix::default(),
            leads: vec![Lead::II, Lead::V1, Lead::V5],
            bad: Bad::default(),
            watched: 0,
        }
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first value outside its limits.
    pub fn check(&self) -> Result<(), Error> {
        let bad = &self.bad;
        let most = Self::MAX_DEVICES;
        within("the number of devices", self.devices, 1, most)?;
        within("the number of seconds", self.seconds, 1, 7 * 86_400)?;
        within("the speed", self.speed, 0.1, 1000.0)?;
        within("the number of scripts", self.scripts, 0, 2000)?;
        within("the share of packets lost", bad.lose, 0.0, 1.0)?;
        within("the share of packets sent twice", bad.duplicate, 0.0, 1.0)?;
        within("the shuffled neighbours", bad.shuffle, 1, 1000)?;
        within("the jitter in seconds", bad.jitter, 0.0, 600.0)?;
        within("the number of reboots per hour", bad.reboots, 0.0, 360.0)?;
        let off = Self::MAX_OFF_SECONDS * 1e6 / f64::from(self.seconds);
        within("the drift in ppm", bad.drift_ppm, 0.0, off.min(500.0))?;
        within("the number of leads", self.leads.len(), 1, 12)?;
        let watched = self.devices.min(500);
        within("the number of watched devices", self.watched, 0, watched)?;
        let records = u64::from(self.seconds) * self.n_scripts() as u64;
        within("seconds times scripts", records, 1, 20_000_000)?;
        if self.device(0).is_none() {
            return Err(Error::Plan {
                what: "the prefix of device names",
                value: format!("{:?}", self.prefix),
                limits: "1 to 58 characters of A-Z, a-z, 0-9, '_' and '-'".to_owned(),
            });
        }
        Ok(())
    }

    /// How many scripts are made.
    pub fn n_scripts(&self) -> usize {
        match self.scripts {
            0 => self.devices.min(Self::SCRIPTS),
            n => n.min(self.devices),
        }
    }

    /// How long each script is, seconds.
    pub fn script_seconds(&self) -> u32 {
        self.seconds.min(Self::SCRIPT_SECONDS)
    }

    /// The name of the `k`-th device; `None` where the prefix makes no name.
    pub fn device(&self, k: usize) -> Option<DeviceId> {
        format!("{}-{k:05}", self.prefix).parse().ok()
    }
}

fn within<T>(what: &'static str, value: T, least: T, most: T) -> Result<(), Error>
where
    T: PartialOrd + fmt::Display + Copy,
{
    if value >= least && value <= most {
        return Ok(());
    }
    Err(Error::Plan {
        what,
        value: value.to_string(),
        limits: format!("{least} to {most}"),
    })
}

/// What a signal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Sinus rhythm at an ordinary rate.
    Normal,
    /// Atrial fibrillation throughout.
    Fibrillation,
    /// Ventricular and atrial extrasystoles, couplets and bigeminy.
    Ectopy,
    /// Episodes of ventricular tachycardia.
    Tachycardia,
    /// Episodes of ventricular fibrillation.
    VentricularFibrillation,
    /// Asystoles of 6 to 12 s.
    Asystole,
    /// Pauses of 3.2 to 3.8 s.
    Pause,
    /// Episodes of complete block at 30 to 36 a minute.
    Slow,
    /// Episodes of sinus rhythm at 150 to 170 a minute.
    Fast,
    /// Electrodes come off.
    LeadsOff,
    /// Sinus rhythm of somebody who walks about.
    Noisy,
    /// PPG with an accelerometer and no ECG: sinus rhythm, at times as fast as in [`Self::Fast`].
    Pulse,
    /// PPG and no ECG: asystoles of 9 to 14 s.
    PulseLost,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 13] = [
        Self::Normal,
        Self::Fibrillation,
        Self::Ectopy,
        Self::Tachycardia,
        Self::VentricularFibrillation,
        Self::Asystole,
        Self::Pause,
        Self::Slow,
        Self::Fast,
        Self::LeadsOff,
        Self::Noisy,
        Self::Pulse,
        Self::PulseLost,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Fibrillation => "af",
            Self::Ectopy => "ectopy",
            Self::Tachycardia => "vt",
            Self::VentricularFibrillation => "vf",
            Self::Asystole => "asystole",
            Self::Pause => "pause",
            Self::Slow => "brady",
            Self::Fast => "tachy",
            Self::LeadsOff => "leads-off",
            Self::Noisy => "noisy",
            Self::Pulse => "ppg",
            Self::PulseLost => "ppg-lost",
        }
    }

    /// Whether leads of the ECG are sent; if not, a PPG.
    pub fn has_ecg(self) -> bool {
        !matches!(self, Self::Pulse | Self::PulseLost)
    }
}

/// Which kinds of signals there are, and how many of each to the others: `normal:8,af:2,asystole`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix(Vec<(Kind, f64)>);

impl Default for Mix {
    /// All there is, much of it ordinary.
    fn default() -> Self {
        let share = |kind| match kind {
            Kind::Normal => 6.0,
            Kind::Pulse => 3.0,
            Kind::Fibrillation | Kind::Ectopy | Kind::Noisy => 2.0,
            _ => 1.0,
        };
        Self(Kind::ALL.map(|kind| (kind, share(kind))).into())
    }
}

impl Mix {
    /// The kind of the `k`-th of `n` scripts: in proportion, and as mixed as can be for any number of first ones.
    pub fn kind(&self, k: usize) -> Kind {
        let total: f64 = self.0.iter().map(|(_, share)| share).sum();
        // Multiples of the golden ratio, modulo 1, are spread evenly however many there are.
        let at = (k as f64 * 0.618_033_988_749_894_9).fract() * total;
        let mut sum = 0.0;
        for &(kind, share) in &self.0 {
            sum += share;
            if at < sum {
                return kind;
            }
        }
        self.0.last().map_or(Kind::Normal, |(kind, _)| *kind)
    }
}

impl FromStr for Mix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let one = |part: &str| {
            let (name, share) = part.split_once(':').unwrap_or((part, "1"));
            let kind = Kind::ALL
                .into_iter()
                .find(|kind| kind.name() == name.trim());
            let share = share.trim().parse::<f64>().ok();
            let share = share.filter(|share| *share > 0.0 && *share <= 1e6);
            kind.zip(share).ok_or_else(|| Error::Plan {
                what: "a part of the mix",
                value: format!("{part:?}"),
                limits: format!(
                    "NAME or NAME:SHARE, with SHARE above 0 and NAME one of {}",
                    Kind::ALL.map(Kind::name).join(", ")
                ),
            })
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (k, (kind, share)) in self.0.iter().enumerate() {
            let comma = if k == 0 { "" } else { "," };
            write!(f, "{comma}{}:{share}", kind.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_and_mixes() {
        let mix: Mix = "normal:3, af".parse().unwrap();
        let kinds: Vec<Kind> = (0..400).map(|k| mix.kind(k)).collect();
        let af = |kinds: &[Kind]| kinds.iter().filter(|k| **k == Kind::Fibrillation).count();
        assert!((98..=102).contains(&af(&kinds)), "{}", af(&kinds));
        assert!((1..=3).contains(&af(&kinds[..8])));
        for bad in ["", "normal:0", "sinus", "af:x"] {
            let error = bad.parse::<Mix>().unwrap_err().to_string();
            assert!(error.contains("leads-off"), "{error}");
        }
        // All that there is comes in the first 64 scripts.
        let all: std::collections::BTreeSet<Kind> =
            (0..64).map(|k| Mix::default().kind(k)).collect();
        assert_eq!(all.len(), Kind::ALL.len());
        // Few devices have a pulse without ECG among them.
        assert!((0..4).any(|k| !Mix::default().kind(k).has_ecg()));
    }

    #[test]
    fn a_value_outside_its_limits_is_named_with_them() {
        let plan = Plan::new("mqtt://127.0.0.1:1", 3, 60);
        assert!(plan.check().is_ok());
        let mut bad = plan.clone();
        bad.devices = 20_001;
        let said = bad.check().unwrap_err().to_string();
        assert_eq!(
            said,
            "the number of devices is 20001, where 1 to 20000 is allowed"
        );
        let mut bad = plan.clone();
        bad.bad.lose = f64::NAN;
        assert!(bad.check().is_err());
        let mut bad = plan;
        bad.prefix = "a b".into();
        assert!(bad.check().unwrap_err().to_string().contains("\"a b\""));
    }
}
