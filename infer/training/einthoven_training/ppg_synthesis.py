"""Pulse waves from sequences of beats: what hearts pump, what arteries make of it, what sensors and hospitals do.

Nothing here is to look like one recording; it is to be wider than what recordings can differ by. Of each beat:

- the stroke follows the filling time before it, the beat before that (contractility), and its kind: ventricular beats
  pump less, many early beats nothing that arrives;
- it arrives after the pre-ejection period, longer where filling was short and for ventricular beats, and a
  transit time;
- its pulse, of one of three families (ejection through a windkessel with reflections; a sum of bells; a mean pulse of a
  real patient), decays under the pulses that follow.

Then respiration, drift, noise, motion, steps, saturation, lost contact, rounding; a band-pass, or none; a sign.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, cheby2, filtfilt, lfilter

from einthoven_training.ppg_beats import BEFORE, SECONDS, Sequence
from einthoven_training.ppg_prepare import filtered, prepared

RATE_HZ = 100
N_SAMPLES = int(SECONDS * RATE_HZ)
LEAD_IN = int(BEFORE * RATE_HZ)
# The time axis of a pulse, s.
FINE = np.arange(0, 3.0, 0.005)
# A second is destroyed where the error exceeds this share of the usual deviation of the wave.
DESTROYED = 0.7
# So many filters of hospitals are drawn for one lot of waves.
N_FILTERS = 200


@dataclass
class Material:
    """What is taken from real waves."""

    # [shape, 128] from foot to foot, and how long each took, s.
    shapes: np.ndarray
    durations: np.ndarray
    # [stretch, 1000] at 100 Hz, deviation 1.
    noise: np.ndarray


class Synthesis:
    """Waves from sequences."""

    def __init__(self, rng: np.random.Generator, material: Material):
        self.rng = rng
        self.material = material
        # Drawn once: designing filters would take most of the time.
        self.hospitals = [self.hospital() for _ in range(N_FILTERS)]
        self.colours = [butter(1, rng.uniform(0.5, 6.0), fs=RATE_HZ) for _ in range(N_FILTERS // 4)]
        edges = [(low, low + rng.uniform(0.5, 6.0)) for low in rng.uniform(0.2, 2.0, N_FILTERS // 2)]
        self.bursts = [butter(2, edge, "bandpass", fs=RATE_HZ) for edge in edges]

    def one_of(self, pool: list):
        """Draw one of a list."""
        return pool[int(self.rng.integers(len(pool)))]

    def wave(self, sequence: Sequence) -> tuple[np.ndarray, np.ndarray]:
        """Make a wave of 10 s at 100 Hz, and the same without noise."""
        rng = self.rng
        pulses, size = self.pulses(sequence)
        t = np.arange(LEAD_IN + N_SAMPLES) / RATE_HZ
        breaths = rng.uniform(0.12, 0.45)
        phase = rng.uniform(0, 2 * np.pi)
        depth = rng.exponential(0.12) if rng.random() < 0.75 else rng.uniform(0.2, 1.0)
        baseline = size * depth * np.sin(2 * np.pi * breaths * t + phase)
        if rng.random() < 0.6:
            wander = np.cumsum(rng.normal(0, 1, len(t)))
            baseline = baseline + size * rng.exponential(0.4) * wander / (wander.std() + 1e-9)
        clean = pulses + baseline
        noisy = clean + size * self.noise(len(t))
        noisy = self.sensor(noisy, size)
        hospital = self.one_of(self.hospitals)
        sign = -1.0 if rng.random() < 0.1 else 1.0
        return sign * hospital(noisy), sign * hospital(clean)

    def pulses(self, sequence: Sequence) -> tuple[np.ndarray, float]:
        """Make pulses alone, and their usual size."""
        rng = self.rng
        stretch = rng.uniform(0.9, 1.12)
        times = sequence.times * stretch
        kinds = sequence.kinds
        n = len(times)
        rr = np.diff(times, prepend=times[0] - np.median(np.diff(times)))
        typical = float(np.median(rr))
        earlier = np.concatenate([rr[:1], rr[:-1]])

        # Filling; isovolumic relaxation has to be over first.
        # It is faster in a heart that has been beating fast.
        lately = np.convolve(np.pad(rr, (4, 0), "edge"), np.full(4, 0.25), "valid")[:n]
        idle = rng.uniform(0.2, 0.36) * np.clip(lately / 0.75, 0.3, 1.1) ** rng.uniform(0.6, 1.0)
        tau = rng.uniform(0.1, 0.45)
        filled = 1 - np.exp(-np.maximum(0, rr - idle) / tau)
        usual = 1 - np.exp(-max(0.08, typical - float(np.median(idle))) / tau)
        stroke = (filled / usual) ** rng.uniform(0.7, 1.6)
        # A short interval before the last makes the beat stronger, a long one weaker.
        force = rng.exponential(0.35)
        stroke *= np.clip(earlier / np.maximum(rr, 0.3), 0.3, 3.0) ** (-0.3 * force)
        stroke *= np.clip(earlier / typical, 0.4, 1.6) ** (-force)
        ventricular = kinds == "V"
        weak = rng.uniform(0.25, 1.0)
        stroke[ventricular] *= weak * np.exp(rng.normal(0, 0.1, ventricular.sum()))
        if np.mean(ventricular) > 0.5:
            # Atria and ventricles each at their own pace: the stroke changes from beat to beat.
            stroke *= np.exp(rng.normal(0, rng.uniform(0.02, 0.35), n))
        stroke[kinds == "S"] *= rng.uniform(0.8, 1.05)
        # After a weak pulse the artery has run down further: the next opens it more.
        lost = np.concatenate([[1.0], stroke[:-1]])
        stroke *= 1 + rng.exponential(0.12) * np.clip(1 - lost, 0, 1)
        stroke *= np.exp(rng.normal(0, rng.exponential(0.04), n))
        breaths, phase = rng.uniform(0.12, 0.45), rng.uniform(0, 2 * np.pi)
        stroke *= 1 + min(0.5, rng.exponential(0.07)) * np.sin(2 * np.pi * breaths * times + phase)
        stroke *= np.exp(rng.normal(0, 0.012, n).cumsum() * rng.exponential(1.0))
        needed = rng.uniform(0.0, 0.3)
        stroke = np.where(stroke < needed, stroke * rng.uniform(0, 0.5), stroke)
        stroke = np.clip(stroke, 0.0, 2.5)

        longer = rng.uniform(0.02, 0.12)
        ejects = rng.uniform(0.06, 0.13) + longer * np.exp(-np.maximum(0, rr - 0.3) / rng.uniform(0.1, 0.3))
        ejects[ventricular] += rng.uniform(-0.01, 0.05)
        ejects += rng.uniform(0.0, 0.03) * (1 - np.clip(stroke, 0, 1.5))
        arrives = times + ejects + rng.uniform(0.12, 0.3) + rng.normal(0, rng.exponential(0.004), n)

        shape = self.shape(typical)
        stiff = rng.uniform(0.0, 0.5)
        pace = np.clip(rr / typical, 0.5, 1.6) ** stiff
        pace *= np.where(ventricular, rng.uniform(0.8, 1.05), 1.0)
        out = np.zeros(LEAD_IN + N_SAMPLES)
        for at, size, speed in zip(arrives, stroke, pace, strict=True):
            first = int(np.ceil((at + BEFORE) * RATE_HZ))
            last = min(first + int(3.0 * speed * RATE_HZ), len(out))
            if size <= 0 or last <= max(first, 0):
                continue
            first = max(first, 0)
            own = (np.arange(first, last) / RATE_HZ - BEFORE - at) / speed
            out[first:last] += size * np.interp(own, FINE, shape, right=0.0)
        return out, float(np.ptp(shape))

    def shape(self, typical: float) -> np.ndarray:
        """Draw the pulse of a patient, on FINE."""
        rng = self.rng
        choice = rng.random()
        if choice < 0.4:
            shape = self.windkessel()
        elif choice < 0.7:
            shape = self.bells()
        else:
            shape = self.real(typical)
        if rng.random() < 0.5:
            width = rng.uniform(0.005, 0.06)
            x = np.arange(-0.2, 0.2001, 0.005)
            bell = np.exp(-0.5 * (x / width) ** 2)
            shape = np.convolve(shape, bell / bell.sum())[len(x) // 2 : len(x) // 2 + len(FINE)]
        fade = np.clip((FINE[-1] - FINE) / 0.5, 0, 1)
        return shape * fade / shape.max()

    def windkessel(self) -> np.ndarray:
        """Ejection into an elastic artery that drains, with reflections."""
        rng = self.rng
        ejection = rng.uniform(0.2, 0.36)
        flow = np.where(ejection > FINE, np.sin(np.pi * np.clip(FINE / ejection, 0, 1) ** rng.uniform(0.6, 1.0)), 0.0)
        drain = np.exp(-FINE / rng.lognormal(np.log(0.45), 0.5))
        direct = np.convolve(flow, drain)[: len(FINE)]
        direct = direct / direct.max() + rng.uniform(0, 0.8) * flow
        out = direct.copy()
        for _ in range(int(rng.integers(1, 4))):
            late = int(rng.uniform(0.1, 0.35) / 0.005)
            out[late:] += rng.uniform(0, 0.4) * direct[: len(out) - late]
        notch = ejection + rng.uniform(0.0, 0.06)
        out -= rng.uniform(0, 0.25) * np.exp(-0.5 * ((FINE - notch) / rng.uniform(0.01, 0.04)) ** 2)
        return np.maximum(out, 0)

    def bells(self) -> np.ndarray:
        """Two or three waves: direct, reflected, dicrotic."""
        rng = self.rng
        peak = rng.uniform(0.1, 0.24)
        out = np.zeros(len(FINE))
        at, size, width = peak, 1.0, peak * rng.uniform(0.35, 0.55)
        for _ in range(int(rng.integers(2, 4))):
            tail = np.where(at < FINE, width * rng.uniform(1.0, 2.5), width)
            out += size * np.exp(-0.5 * ((FINE - at) / tail) ** 2)
            at += rng.uniform(0.1, 0.28)
            size *= rng.uniform(0.2, 0.9)
            width = rng.uniform(0.04, 0.13)
        out += rng.uniform(0, 0.5) * np.where(peak < FINE, np.exp(-(FINE - peak) / rng.uniform(0.2, 0.7)), 0)
        return out * np.clip(FINE / 0.04, 0, 1)

    def real(self, typical: float) -> np.ndarray:
        """Take the mean pulse of a real patient, upstroke and decay paced a little otherwise."""
        rng = self.rng
        k = int(rng.integers(len(self.material.shapes)))
        shape, duration = self.material.shapes[k], float(self.material.durations[k])
        duration *= (typical / duration) ** rng.uniform(0.0, 0.6) * np.exp(rng.normal(0, 0.08))
        own = np.interp(FINE, np.linspace(0, duration, len(shape)), shape, right=0.0)
        # It ends at the level where the next pulse began; what would have gone on below is unknown.
        lean = rng.uniform(0, 0.3)
        return own + lean * np.clip(FINE / (0.3 * duration), 0, 1) * np.exp(-FINE / (0.5 * duration))

    def noise(self, n: int) -> np.ndarray:
        """Noise of a sensor on skin that moves, in usual pulse sizes."""
        rng = self.rng
        out = rng.normal(0, rng.exponential(0.01), n)
        severity = rng.choice([0.0, 0.25, 0.6, 1.5], p=[0.56, 0.25, 0.13, 0.06])
        if rng.random() < 0.6:
            coloured = lfilter(*self.one_of(self.colours), rng.normal(0, 1, n))
            out = out + coloured / coloured.std() * rng.exponential(0.03 + 0.08 * severity)
        if severity == 0:
            return out
        for _ in range(int(rng.integers(1, 2 + int(4 * severity)))):
            length = int(RATE_HZ * rng.uniform(0.3, 2.0 + 3.0 * severity))
            start = int(rng.integers(-length // 2, n))
            x = np.arange(n) - start
            envelope = np.where(
                (x >= 0) & (x < length), np.sin(np.pi * np.clip(x / length, 0, 1)) ** rng.uniform(0.3, 1.5), 0.0
            )
            size = severity * rng.exponential(1.2)
            what = rng.random()
            if what < 0.45:
                burst = lfilter(*self.one_of(self.bursts), rng.normal(0, 1, n))
                burst = burst / (burst.std() + 1e-9)
            elif what < 0.65:
                phase = (
                    2
                    * np.pi
                    * np.cumsum(rng.uniform(0.6, 3.0) * (1 + 0.1 * np.sin(x / rng.uniform(30, 200))))
                    / RATE_HZ
                )
                burst = np.sin(phase + rng.uniform(0, 1) * np.sin(phase))
            elif what < 0.8:
                burst = np.where(x > 0, np.exp(-np.maximum(x, 0) / (RATE_HZ * rng.uniform(0.05, 1.0))), 0.0)
                envelope, size = np.ones(n), size * rng.choice([-2.0, 2.0])
            else:
                pool = self.material.noise
                k, shift = int(rng.integers(len(pool))), int(rng.integers(1000))
                burst = np.resize(np.roll(pool[k], shift), n)
            out = out + size * envelope * burst
        return out

    def sensor(self, wave: np.ndarray, size: float) -> np.ndarray:
        """Saturation, lost contact, changes of gain, rounding."""
        rng = self.rng
        inside = wave[LEAD_IN:]
        if rng.random() < 0.06:
            low, high = np.quantile(inside, [rng.uniform(0, 0.12), rng.uniform(0.88, 1.0)])
            wave = np.clip(wave, low, high)
        if rng.random() < 0.04:
            start = LEAD_IN + int(rng.integers(N_SAMPLES))
            wave = wave.copy()
            level = wave[start - 1] if rng.random() < 0.5 else wave.min() - size * rng.exponential(1.0)
            wave[start : start + int(rng.uniform(0.3, 4) * RATE_HZ)] = level
        if rng.random() < 0.04:
            start = LEAD_IN + int(rng.integers(N_SAMPLES))
            wave = wave.copy()
            wave[start:] = wave[start] + (wave[start:] - wave[start]) * np.exp(rng.normal(0, 0.6))
        if rng.random() < 0.3:
            step = size / 2 ** rng.uniform(3.5, 9)
            wave = np.round(wave / step) * step
        return wave

    def hospital(self):
        """Draw what was done to waves before anybody saw them."""
        rng = self.rng
        choice = rng.random()
        if choice < 0.3:
            return lambda wave: wave[LEAD_IN:]
        low, high = np.exp(rng.uniform(np.log(0.1), np.log(0.8))), rng.uniform(4.0, 20.0)
        order = int(rng.integers(1, 5))
        if choice < 0.75:
            taps = butter(order, (low, high), "bandpass", fs=RATE_HZ)
        elif choice < 0.9:
            taps = cheby2(max(2, order), rng.uniform(20, 40), (low * 0.7, high * 1.3), "bandpass", fs=RATE_HZ)
        else:
            taps = butter(
                order, low if rng.random() < 0.5 else high, "highpass" if rng.random() < 0.5 else "lowpass", fs=RATE_HZ
            )
            if np.isclose(taps[0].sum(), 0) or taps[0][0] > 0.5:
                taps = butter(order, low, "highpass", fs=RATE_HZ)
        both, early = rng.random() < 0.6, rng.random() < 0.6

        def run(wave: np.ndarray) -> np.ndarray:
            given = wave - wave.mean() if early else wave[LEAD_IN:] - wave[LEAD_IN:].mean()
            out = filtfilt(*taps, given) if both else lfilter(*taps, given)
            return out[-N_SAMPLES:]

        return run


def usable_of(noisy: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Say which share of the seconds of each wave [wave, 1000] noise leaves recognisable."""
    wave, _ = filtered(noisy, RATE_HZ)
    truth, _ = filtered(clean, RATE_HZ)
    n_seconds = int(SECONDS)
    usual = np.median(truth.reshape(len(truth), n_seconds, -1).std(axis=2), axis=1)
    # A gain that changed for good is no error.
    gain = (wave * truth).sum(axis=1) / np.maximum((truth**2).sum(axis=1), 1e-12)
    gain = np.clip(gain, 0.3, 3.0)[:, None]
    error = np.sqrt(((wave - gain * truth) ** 2).reshape(len(truth), n_seconds, -1).mean(axis=2))
    return (error < DESTROYED * (gain * usual[:, None])).mean(axis=1)


def make(sequences: list[Sequence], rng: np.random.Generator, material: Material) -> tuple[np.ndarray, np.ndarray]:
    """Make a wave of each sequence: prepared, [wave, 500], and the share of each that is usable."""
    synthesis = Synthesis(rng, material)
    noisy = np.empty((len(sequences), N_SAMPLES))
    clean = np.empty_like(noisy)
    for k, sequence in enumerate(sequences):
        noisy[k], clean[k] = synthesis.wave(sequence)
    bad = ~np.isfinite(noisy).all(axis=1) | (np.abs(noisy).max(axis=1) > 1e6)
    noisy[bad], clean[bad] = 0.0, 0.0
    usable = usable_of(noisy, clean)
    usable[bad] = 0.0
    return prepared(noisy, RATE_HZ), usable
