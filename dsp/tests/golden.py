"""Writes golden.json: impulse responses of SciPy's Butterworth and notch filters, and impulse and
step responses of the two paths, written down as directly as NumPy and SciPy allow.

    python3 -m venv venv && venv/bin/pip install numpy scipy
    venv/bin/python dsp/tests/golden.py > dsp/tests/golden.json
"""

import json

import numpy as np
from scipy import optimize, signal

RATE = 250.0
N = 200


def impulse(sos):
    x = np.zeros(N)
    x[0] = 1.0
    return signal.sosfilt(sos, x).tolist()


cases = []
for order in range(2, 9):
    for kind, corners in [("lowpass", [30.0]), ("highpass", [2.0]), ("bandpass", [5.0, 25.0])]:
        sos = signal.butter(order, corners if len(corners) > 1 else corners[0], kind, fs=RATE, output="sos")
        cases.append({"kind": kind, "order": order, "corners": corners, "impulse": impulse(sos), "sos": sos.tolist()})
for centre in [50.0, 60.0]:
    b, a = signal.iirnotch(centre, 25.0, fs=RATE)
    sos = signal.tf2sos(b, a)
    cases.append({"kind": "notch", "order": 25, "corners": [centre], "impulse": impulse(sos), "sos": sos.tolist()})


def windowed_sinc(at, cut, half):
    """A sinc under a Kaiser window for 50 dB, `half` samples to either side."""
    inside = np.abs(at / half) <= 1
    window = np.where(inside, np.i0(4.55 * np.sqrt(np.clip(1 - (at / half) ** 2, 0, 1))), 0) / np.i0(4.55)
    return np.sinc(2 * cut * at) * window


def diagnostic(x, rate):
    """0.05 Hz first-order high-pass, then a zero-phase FIR with half the power at `high`."""
    half = max(round(0.024 * rate), 6)
    high = min(150.0, 0.4 * rate)

    def taps(cut):
        return signal.firwin(2 * half + 1, cut, window=("kaiser", 4.55), fs=rate)

    def gain(cut):
        return abs(signal.freqz(taps(cut), worN=[high], fs=rate)[1][0])

    cut = optimize.brentq(lambda cut: gain(cut) - np.sqrt(0.5), high, 0.499 * rate, xtol=1e-12)
    keep = np.exp(-2 * np.pi * 0.05 / rate)
    level = signal.lfilter([keep, -keep], [1, -keep], x)
    return np.convolve(level, taps(cut))[half : half + len(x)]


def monitor(x, rate):
    """To 250 Hz through a 40 Hz low-pass, less a weighted mean over two seconds."""
    to, spacing, reach = 250.0, 10, 23
    half, cut = 0.122 * rate, min(44.5, 0.45 * rate, 0.45 * to) / rate
    n_out = int(len(x) * to / rate)
    y = np.zeros(n_out)
    for m in range(n_out):
        # Exact, because a tap may fall on the very end of the window.
        whole, rest = divmod(m * round(rate), round(to))
        k = whole + np.arange(-int(half) - 2, int(half) + 3)
        weights = windowed_sinc(k - whole - rest / to, cut, half)
        y[m] = np.sum(weights * x[np.clip(k, 0, len(x) - 1)]) / np.sum(weights)
    fine = signal.windows.hann(2 * spacing + 1)[1:-1]
    coarse = signal.windows.hann(2 * reach + 3)[1:-1]
    near = np.convolve(y, fine / fine.sum(), "same")
    nodes = near[::spacing]
    mean = np.convolve(nodes, coarse / coarse.sum(), "same")
    return y - np.interp(np.arange(n_out), np.arange(len(mean)) * spacing, mean)


# Something happens at 12.3 s, long after the start; what comes out around it is kept.
SECONDS, AT, AROUND = 16, 12.3, 0.25
paths = []
for name, path in [("diagnostic", diagnostic), ("monitor", monitor)]:
    for rate in [250.0, 360.0, 500.0, 1000.0]:
        out_rate = 250.0 if name == "monitor" else rate
        at = round(AT * rate)
        for kind in ["impulse", "step"]:
            x = np.zeros(int(SECONDS * rate))
            if kind == "step":
                x[at:] = 1.0
            else:
                x[at] = 1.0
            first = int((AT - AROUND) * out_rate)
            y = path(x, rate)[first : first + int(2 * AROUND * out_rate)]
            values = [round(v, 8) for v in y.tolist()]
            paths.append({"path": name, "rate": rate, "kind": kind, "at": at, "n": len(x), "first": first, "out": values})
print(json.dumps({"rate": RATE, "cases": cases, "paths": paths}))
