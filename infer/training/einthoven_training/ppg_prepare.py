"""How a pulse wave is prepared for the model: the reference for `infer/src/pulse_rhythm/input.rs`.

10 s at any rate: to 50 Hz by a windowed sinc, 0.5 to 8 Hz by a Butterworth band-pass that runs forward and backward,
divided by the typical deviation, clipped; turned over where it points down.
"""

from functools import cache
from math import gcd

import numpy as np
from scipy.signal import butter, filtfilt

RATE_HZ = 50
N_SAMPLES = 500
BAND_HZ = (0.5, 8.0)
# Of the median absolute value to the deviation of a normal distribution.
TYPICAL = 1.4826
# What a wave must swing by, as a share of its largest value; less is a flat line with rounding on it.
LEAST = 1e-6
CLIP = 6.0
# Slopes that lean further than this to the falling side are those of a wave that points down; `ecg/src/polarity.rs`.
DOWN = -0.5
# In standard deviations, slopes are taken for no more than this.
MOST = 3.0


@cache
def resampling(from_hz: int, n_in: int) -> np.ndarray:
    """Make the matrix [n_in, n_out] that is `infer/src/prepare/resample.rs`."""
    divisor = gcd(from_hz, RATE_HZ)
    numerator, denominator = from_hz // divisor, RATE_HZ // divisor
    n_out = n_in * denominator // numerator
    if numerator == denominator:
        return np.eye(n_in)
    slower = max(1.0, from_hz / RATE_HZ)
    half = -(-int(32 * slower) // 8) * 8
    cutoff = 0.9 / slower
    matrix = np.zeros((n_in, n_out))
    for k in range(n_out):
        fraction = (k * numerator % denominator) / denominator
        x = np.arange(1, 2 * half + 1) - half - fraction
        taps = np.sinc(cutoff * x) * np.i0(9.0 * np.sqrt(np.maximum(0, 1 - (x / half) ** 2)))
        taps /= taps.sum()
        at = np.clip(k * numerator // denominator + 1 + np.arange(2 * half) - half, 0, n_in - 1)
        np.add.at(matrix[:, k], at, taps)
    return matrix


@cache
def band() -> tuple[np.ndarray, np.ndarray]:
    """Design the band-pass."""
    return butter(4, BAND_HZ, "bandpass", fs=RATE_HZ)


def filtered(samples: np.ndarray, from_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Resample and filter waves of 10 s, [wave, sample]; and what each is divided by, 0 where it is flat."""
    samples = np.asarray(samples, dtype=np.float64)
    largest = np.abs(samples).max(axis=1)
    level = samples.mean(axis=1, keepdims=True)
    waves = (samples - level) @ resampling(from_hz, samples.shape[1])
    waves = filtfilt(*band(), waves[:, :N_SAMPLES], axis=1)
    scale = TYPICAL * np.median(np.abs(waves), axis=1)
    return waves, np.where(scale > LEAST * largest, scale, 0.0)


def prepared(samples: np.ndarray, from_hz: int) -> np.ndarray:
    """Prepare waves of 10 s, [wave, sample]: [wave, 500], float32; flat ones are zeros."""
    waves, scale = filtered(samples, from_hz)
    factor = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    seen = np.clip(waves * factor[:, None], -CLIP, CLIP)
    return np.where(points_down(seen)[:, None], -seen, seen).astype(np.float32)


def points_down(waves: np.ndarray) -> np.ndarray:
    """Tell for each wave, [wave, sample], whether it falls faster than it rises."""
    slopes = np.diff(waves, axis=1)
    spread = np.sqrt((slopes**2).mean(axis=1, keepdims=True))
    cut = np.clip(slopes / np.maximum(spread, np.finfo(float).tiny), -MOST, MOST)
    power = (cut**2).mean(axis=1) ** 1.5
    return (cut**3).mean(axis=1) < DOWN * power
