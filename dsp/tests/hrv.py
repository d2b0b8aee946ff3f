"""Writes hrv.json: variability by numpy and scipy, for hrv.rs. `python hrv.py > hrv.json`."""

import json

import numpy as np
from scipy.signal import lombscargle

rng = np.random.default_rng(1996)
HZ = 500


def sample_entropy(x, m, r):
    """Richman & Moorman: pairs of templates, the same ones for both lengths, no self-matches."""
    n = len(x) - m
    short = np.array([x[i : i + m] for i in range(n)])
    long = np.array([x[i : i + m + 1] for i in range(n)])
    pairs = lambda t: sum(np.sum(np.max(np.abs(t[i + 1 :] - t[i]), axis=1) <= r) for i in range(n))
    return float(-np.log(pairs(long) / pairs(short)))


def band(t, nn, low, high):
    span = t[-1] - t[0]
    step = 1 / (4 * span)
    f = np.arange(np.ceil(low / step), 10 * high / step) * step
    f = f[f < high]
    p = lombscargle(t, nn - nn.mean(), 2 * np.pi * f)
    return float(np.sum(2 * p * span / len(nn)) * step)


cases = []
for n, mean, low, high, noise in [(390, 760, 25, 15, 12), (250, 1150, 60, 45, 25), (160, 900, 5, 4, 3)]:
    t, peaks = 0.7, []
    while len(peaks) <= n:
        peaks.append(round(t * HZ))
        rr = mean + low * np.sin(2 * np.pi * 0.09 * t) + high * np.sin(2 * np.pi * 0.27 * t)
        t += (rr + noise * rng.standard_normal()) / 1000
    nn = np.diff(peaks) * 1000 / HZ
    at = np.array(peaks[1:]) / HZ
    d = np.diff(nn)
    lf, hf = band(at, nn, 0.04, 0.15), band(at, nn, 0.15, 0.4)
    cases.append(
        {
            "peaks": peaks,
            "mean_nn_ms": float(nn.mean()),
            "sdnn_ms": float(nn.std(ddof=1)),
            "rmssd_ms": float(np.sqrt(np.mean(d**2))),
            "pnn50_percent": float(100 * np.mean(np.abs(d) > 50)),
            "lf_ms2": lf,
            "hf_ms2": hf,
            "lf_hf": lf / hf,
            "sample_entropy": sample_entropy(nn, 2, 0.2 * nn.std(ddof=1)),
        }
    )
print(json.dumps({"hz": HZ, "cases": cases}))
