"""Fits the pulse detector: from recordings to `dsp/src/pulse/weights.bin`.

    cargo build --release -p dsp --example pulse_measures
    einthoven evaluate pulse DATA/cinc2015 --json --lists > lists.json
    python dsp/training/pulse.py DATA lists.json --out dsp/src/pulse/weights.bin

DATA holds `cinc2015`; `lists.json` says where its ECG is good and where its beats are. Needs numpy, wfdb and lightgbm.

1. The example `pulse_measures` measures the upstrokes and the seconds of each PPG and arterial pressure: training and service use the same
   code. Each signal is also shown slowed down and sped up, so that the rates of the few patients are not learnt, and low-passed and with
   noise and movements added, in which case what is added is what the forest of seconds has to see.
2. The time from beat to pulse is the median of a signal's own. An upstroke is a pulse where it is the steepest within 150 ms of where one is due.
   What is where the ECG is not good is left out.
3. A second is clear if every pulse that is due in it and around it (half a second) was found, and nothing else was, by a forest of upstrokes
   that did not see the record.

Folds are by record.
"""

import argparse
import json
import os
import struct
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lightgbm
import numpy as np
import wfdb

from beats import forest

EXAMPLE = "target/release/examples/pulse_measures"
N_MEASURES, N_CLARITY = 30, 22
TOLERANCE = 0.15
FOLDS = 5
SPEEDS = (1.0, 0.8, 1.3)
UPSTROKES = dict(n_estimators=160, learning_rate=0.08, num_leaves=16, min_child_samples=200, max_bin=63, subsample=0.6,
                 subsample_freq=1, colsample_bytree=0.5, reg_lambda=5.0)
SECONDS = dict(n_estimators=120, learning_rate=0.06, num_leaves=12, min_child_samples=200, max_bin=63, subsample=0.6,
               subsample_freq=1, colsample_bytree=0.5, reg_lambda=5.0)


def measure(hz, signals, weights=None):
    """For each signal its upstrokes [upstroke, (second, opinion, measures)] and its seconds [second, (number, measures)]."""
    data = b"".join(struct.pack("<Q", len(x)) + np.asarray(x, "<f4").tobytes() for x in signals)
    path = os.environ.get("PULSE_MEASURES", EXAMPLE)
    out = subprocess.run([path, str(hz), *([weights] if weights else [])], input=data, capture_output=True, check=True).stdout
    found, at = [], 0
    for _ in signals:
        n, m = struct.unpack_from("<QQ", out, at)
        at += 16
        upstrokes = np.frombuffer(out, "<f4", n * (2 + N_MEASURES), at).reshape(n, 2 + N_MEASURES)
        at += upstrokes.nbytes
        seconds = np.frombuffer(out, "<f4", m * (1 + N_CLARITY), at).reshape(m, 1 + N_CLARITY)
        at += seconds.nbytes
        found.append((upstrokes, seconds))
    return found


def transit(beats, times, weights):
    """The most frequent time from a beat to an upstroke, steep ones above all: the median around the best 0.2 s."""
    apart = (times[None] - beats[:, None]).ravel()
    weight = np.broadcast_to(weights, (len(beats), len(times))).ravel()
    near = (apart > -0.2) & (apart < 1.0)
    apart, weight = apart[near], weight[near]
    if len(apart) == 0:
        return None
    edges = np.arange(-0.2, 1.0, 0.02)
    mass = [weight[(apart >= edge) & (apart < edge + 0.2)].sum() for edge in edges]
    best = edges[int(np.argmax(mass))]
    inside = (apart >= best) & (apart < best + 0.2)
    order = np.argsort(apart[inside])
    total = np.cumsum(weight[inside][order])
    return float(apart[inside][order][np.searchsorted(total, total[-1] / 2)])


class Signal:
    def __init__(self, record, kind, hz, samples, beats, good, speed, seed):
        self.record, self.kind, self.speed = record, kind, speed
        self.hz, self.samples, self.beats, self.good = hz, samples, beats, good
        self.added = np.zeros(int(len(samples) / hz) + 2, bool)
        if seed is not None:
            self.disturb(np.random.default_rng(seed))

    def disturb(self, chance):
        """Movements and noise for some seconds."""
        x = self.samples = self.samples.copy()
        size = np.median([np.ptp(x[k : k + int(2 * self.hz)]) for k in range(0, len(x) - int(2 * self.hz), int(2 * self.hz))])
        t = 0.0
        while t < len(x) / self.hz:
            t += chance.exponential(12)
            n = int(chance.uniform(0.4, 6) * self.hz)
            k = int(t * self.hz)
            if k + n >= len(x):
                break
            # White noise, low-passed at 0.6 to 8 Hz.
            noise = chance.normal(size=n)
            spectrum = np.fft.rfft(noise)
            f = np.fft.rfftfreq(n, 1 / self.hz)
            spectrum *= 1 / (1 + (f / chance.uniform(0.6, 8)) ** 4)
            noise = np.fft.irfft(spectrum, n)
            noise *= size * chance.choice([0.3, 0.7, 1.5, 3]) / max(np.std(noise), 1e-9) / 2
            x[k : k + n] += (noise * np.hanning(n)).astype(x.dtype)
            t += n / self.hz

    def label(self, upstrokes, seconds):
        """Whether each upstroke is a pulse: 1, 0, or -1 where nobody knows; and where pulses are due."""
        times, steepness = upstrokes[:, 0], np.exp(upstrokes[:, 2])
        beats = self.beats
        reference = beats[np.isin(beats.astype(int), list(self.good))] if len(beats) else beats
        label = np.full(len(times), -1)
        self.transit = transit(reference, times, steepness) if len(reference) >= 20 and len(times) else None
        if self.transit is None:
            return label
        due = beats + self.transit
        label[np.isin((times - self.transit).astype(int), list(self.good))] = 0
        for t in due:
            near = np.flatnonzero(np.abs(times - t) <= TOLERANCE)
            if len(near):
                best = near[np.argmax(steepness[near])]
                if label[best] == 0:
                    label[best] = 1
        return label

    def clear(self, upstrokes, seconds):
        """Whether the pulses of each second are right, with the opinions that `upstrokes` hold: 1, 0 or -1."""
        clear = np.full(len(seconds), -1)
        if self.transit is None:
            return clear
        due = self.beats + self.transit
        found = upstrokes[upstrokes[:, 1] > 0, 0]
        met = np.zeros(len(due), bool)
        right = np.zeros(len(found), bool)
        pairs = [(abs(f - d), i, j) for i, d in enumerate(due) for j, f in enumerate(found) if abs(f - d) <= TOLERANCE]
        for _, i, j in sorted(pairs):
            if not met[i] and not right[j]:
                met[i] = right[j] = True
        for k, second in enumerate(seconds[:, 0].astype(int)):
            if not {int(second - self.transit), int(second + 1 - self.transit)} <= self.good:
                continue
            inside = lambda t: (t >= second - 0.5) & (t < second + 1.5)
            clear[k] = bool(met[inside(due)].all() and right[inside(found)].all() and inside(due).any())
        return clear


def read(data, lists):
    signals = []
    for k, line in enumerate(json.loads(Path(lists).read_text())["per_record"]):
        record = wfdb.rdrecord(str(data / "cinc2015" / line["record"]))
        beats = np.array(line["due"]) - line["transit_ms"] / 1000
        for name, x in zip(record.sig_name, record.p_signal.T):
            if name not in ("PLETH", "ABP"):
                continue
            # As the player does: what is missing stays where it was.
            known = ~np.isnan(x)
            last = np.maximum.accumulate(np.where(known, np.arange(len(x)), 0))
            x = np.nan_to_num(x[last]).astype(np.float32)
            for speed in SPEEDS:
                hz = record.fs * speed
                good = {s for s in range(int(len(x) / hz) + 1) if {int(s * speed), int((s + 1) * speed)} <= set(line["good"])}
                signals.append(Signal(line["record"], name, hz, x, beats / speed, good, speed, None))
            signals.append(Signal(line["record"], name, record.fs, x, beats, set(line["good"]), 1.0, k))
            signals[-1].disturbed = True
    return signals


def measured(signals, weights=None):
    groups = {}
    for signal in signals:
        groups.setdefault(signal.hz, []).append(signal)
    out = {}
    for hz, group in groups.items():
        for signal, found in zip(group, measure(hz, [s.samples for s in group], weights)):
            out[id(signal)] = found
    return [out[id(signal)] for signal in signals]


def boost(x, y, w, options):
    model = lightgbm.LGBMClassifier(**options, n_jobs=int(os.environ.get("JOBS", 1)), verbose=-1, deterministic=True, seed=1)
    return model.fit(x, y, sample_weight=w)


def file(upstrokes, seconds=None, shift=0.0):
    out = b"EPU1" + struct.pack("<HH", N_MEASURES, N_CLARITY) + forest(upstrokes)
    if seconds is None:
        return out + struct.pack("<H", 0)
    return out + with_offset(forest(seconds), shift)


def with_offset(bytes, shift):
    """The forest with one more tree, of one split whose leaves are alike."""
    (n,) = struct.unpack_from("<H", bytes)
    return struct.pack("<H", n + 1) + bytes[2:] + struct.pack("<BBfbb2f", 1, 0, 0.0, -1, -2, shift, shift)


def weight_of(signals, labels):
    """Each record counts by the square root of what it has."""
    return [np.full(len(l), 1 / np.sqrt(max((l >= 0).sum(), 1))) * (1.0 if s.kind == "PLETH" else 0.5) for s, l in zip(signals, labels)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("lists", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folds", type=Path)
    parser.add_argument("--clear", type=float, default=0.763, help="the probability that is a score of a half")
    args = parser.parse_args()
    signals = read(args.data, args.lists)
    names = sorted({s.record for s in signals})
    fold_of = {name: k % FOLDS for k, name in enumerate(np.random.default_rng(1).permutation(names))}
    fold = np.array([fold_of[s.record] for s in signals])
    first = measured(signals)
    labels = [s.label(*f) for s, f in zip(signals, first)]
    weights = weight_of(signals, labels)
    print(f"{len(names)} records, {len(signals)} signals, {sum((l == 1).sum() for l in labels)} pulses, {sum((l == 0).sum() for l in labels)} others")

    def fit(which):
        rows = [(f[0][l >= 0, 2:], l[l >= 0], w[l >= 0]) for f, l, w, k in zip(first, labels, weights, which) if k]
        x, y, w = map(np.concatenate, zip(*rows))
        return boost(x, y, w, UPSTROKES)

    second = [None] * len(signals)
    scratch = Path(tempfile.mkdtemp())
    models = []
    for k in range(FOLDS):
        model = fit(fold != k)
        models.append(model)
        path = scratch / f"{k}.bin"
        path.write_bytes(file(model))
        own = np.flatnonzero(fold == k)
        for at, found in zip(own, measured([signals[at] for at in own], path)):
            second[at] = found
    for kind in ("PLETH", "ABP"):
        opinions = np.concatenate([f[0][l >= 0, 1] for f, l, s in zip(second, labels, signals) if s.kind == kind and s.speed == 1.0])
        truth = np.concatenate([l[l >= 0] for l, s in zip(labels, signals) if s.kind == kind and s.speed == 1.0])
        tp = ((opinions > 0) & (truth == 1)).sum()
        print(kind, "upstrokes held out: se", tp / (truth == 1).sum(), "ppv", tp / (opinions > 0).sum())

    clear = [s.clear(*f) for s, f in zip(signals, second)]
    wide = weight_of(signals, clear)

    def fit_clear(which):
        use = [k and s.kind == "PLETH" for k, s in zip(which, signals)]
        rows = [(f[1][c >= 0, 1:], c[c >= 0], w[c >= 0]) for f, c, w, k in zip(second, clear, wide, use) if k]
        x, y, w = map(np.concatenate, zip(*rows))
        return boost(x, y, w, SECONDS)

    held, truth = [], []
    shift = -float(np.log(args.clear / (1 - args.clear)))
    for k in range(FOLDS):
        model = fit_clear(fold != k)
        if args.folds:
            args.folds.mkdir(exist_ok=True)
            for name in names:
                if fold_of[name] == k:
                    (args.folds / f"{name}.bin").write_bytes(file(models[k], model, shift))
        for at in np.flatnonzero(fold == k):
            s = signals[at]
            if s.kind == "PLETH" and s.speed == 1.0 and not hasattr(s, "disturbed"):
                use = clear[at] >= 0
                if use.any():
                    held.append(model.predict_proba(second[at][1][use, 1:])[:, 1])
                    truth.append(clear[at][use])
    held, truth = np.concatenate(held), np.concatenate(truth)
    order = np.argsort(held)
    auc = (np.argsort(order)[truth == 1].mean() - ((truth == 1).sum() - 1) / 2) / (truth == 0).sum()
    print("seconds held out: clear", truth.mean(), "auc", auc)
    for limit in (0.5, 0.6, 0.7, 0.8, 0.9):
        print(f"  {limit}: usable {(held > limit).mean():.3f}, of these clear {truth[held > limit].mean():.4f}")
    if args.out:
        args.out.write_bytes(file(fit(np.ones(len(signals), bool)), fit_clear(np.ones(len(signals), bool)), shift))
    model = fit_clear(fold != 0)
    print("importance of seconds", model.booster_.feature_importance("gain").astype(int))
    print("importance of upstrokes", models[0].booster_.feature_importance("gain").astype(int))


if __name__ == "__main__":
    main()
