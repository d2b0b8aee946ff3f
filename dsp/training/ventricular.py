"""Fits the ventricular detector: from recordings to `dsp/src/ventricular/weights.bin`.

    cargo build --release -p dsp --example ventricular_features
    python dsp/training/ventricular.py DATA CACHE --out dsp/src/ventricular/weights.bin [--folds DIR]

DATA holds `cinc2015` (with ALARMS.csv) and `mitdb`; CACHE is a folder for what the example measures of each record. Needs numpy,
wfdb, scikit-learn and lightgbm.

1. The example `ventricular_features` runs the chain over each record and writes what the detector sees each second: training and service
   use the same code.
2. Where in a record the alarm of Challenge 2015 is about is not said, only whether it is true. So the seconds of a true one are
   chosen by the forest itself (multiple instances): those of its last 16 s, at most four, that it finds most like it, after a first round
   that takes all of the last six. Seconds of 80 s of records of all other alarms, and of false ones to the end, are negative; what is before a
   true one is left out for 20 s, and seconds that are likely in the first round among the early ones of any record are left out too, for nobody
   looked at them.
3. MIT-BIH: a second is VT where five ventricular beats on end above 100 a minute lie within its last eight seconds and reach
   into its last three; VF where three of its last four seconds are flutter (`[` to `]`). What touches either but is not is left out.
4. The simulator, and oscillators that wander (`oscillate`), give VF; its other rhythms give the opposite.
5. Each lead is a sample. Within a source a record counts with the square root of the seconds that it has; one in three of those far from an
alarm is learned from.

6. What the folds say of records that they did not see is turned into probabilities by a line (Platt): that of a fold from the records of the
others.

Folds are by record (201 and 202 are one patient). With `--folds` the weights of the fold that did not see a record are written to
`DIR/RECORD.bin`, for `einthoven evaluate ventricular DATA/cinc2015 --weights DIR`.
"""

import argparse
import csv
import os
import struct
import subprocess
from pathlib import Path

import lightgbm
import numpy as np
import wfdb

from beats import forest

EXAMPLE = "target/release/examples/ventricular_features"
N = 59
FOLDS = 5
SCORED = 16.0
VT, VF = 0, 1
ALARMS = {"Ventricular_Tachycardia": VT, "Ventricular_Flutter_Fib": VF}
ECG = {"I", "II", "III", "MLII", "MLI", "MLIII", "V", "V1", "V2", "V3", "V4", "V5", "V6", "aVR", "aVL", "aVF", "AVR", "AVL", "AVF", "MCL", "MCL1"}
# One patient.
TOGETHER = {"202": "201"}


def example(*arguments, data=b""):
    path = os.environ.get("VENTRICULAR_FEATURES", EXAMPLE)
    return subprocess.run([path, *map(str, arguments)], input=data, capture_output=True, check=True).stdout


class Record:
    """Ends of seconds `at` [second], measures `rows` [second, lead, measure], and for each kind the labels [second]: 1, 0 or -1."""

    def __init__(self, source, name, raw, n_leads):
        self.source, self.name, self.group = source, name, TOGETHER.get(name, name)
        step = 8 + 4 * N * n_leads
        n = len(raw) // step
        table = np.frombuffer(raw[: n * step], np.uint8).reshape(n, step)
        self.at = table[:, :8].copy().view("<f8")[:, 0]
        self.rows = table[:, 8:].copy().view("<f4").reshape(n, n_leads, N)
        self.labels = np.zeros((2, n), int)
        self.alarm = None


def filled(lead, hz):
    """As the program plays it: what is missing holds the last value; NaN for a second of which most is missing."""
    known = np.where(np.isnan(lead), -1, np.arange(len(lead)))
    last = np.maximum.accumulate(known)
    out = np.where(last >= 0, lead[np.maximum(last, 0)], 0.0)
    step = int(hz)
    for start in range(0, len(lead), step):
        if np.isnan(lead[start : start + step]).mean() > 0.5:
            out[start : start + step] = np.nan
    return out


def measured(cache, source, name, samples, hz):
    file = Path(cache) / f"{source}-{name}.bin"
    n = min(len(samples), 3)
    if not file.exists():
        data = np.asarray([filled(lead, hz) for lead in samples[:n]], "<f4").tobytes()
        file.write_bytes(example(hz, n, data=data))
    return Record(source, name, file.read_bytes(), n)


def cinc2015(data, cache):
    records = []
    for row in csv.DictReader((data / "cinc2015/ALARMS.csv").open()):
        record = wfdb.rdrecord(str(data / "cinc2015" / row["record"]))
        leads = [k for k, name in enumerate(record.sig_name) if name in ECG]
        # II first, then I, V5, the others: the order in which the chain prefers them.
        order = {"II": 0, "I": 1, "V5": 2}
        leads.sort(key=lambda k: order.get(record.sig_name[k], 3))
        found = measured(cache, "cinc2015", row["record"], record.p_signal.T[leads], record.fs)
        kind = ALARMS.get(row["alarm"])
        true = row["truth"] == "true"
        found.alarm = (row["alarm"], true)
        end = len(record.p_signal) / record.fs
        found.late = found.at > end - SCORED
        for k in (VT, VF):
            if true and k == kind:
                found.labels[k, found.at > end - 36.0] = -1
        # One may go with the other.
        if true and kind == VF:
            found.labels[VT, found.at > end - 36.0] = -1
        if true and kind == VT:
            found.labels[VF, found.at > end - 36.0] = -1
        records.append(found)
    return records


def mitdb(data, cache):
    records = []
    for header in sorted((data / "mitdb").glob("*.hea")):
        record = wfdb.rdrecord(str(header.with_suffix("")))
        leads = list(range(len(record.sig_name)))
        leads.sort(key=lambda k: 0 if record.sig_name[k] == "MLII" else 2 if record.sig_name[k] == "V5" else 3)
        found = measured(cache, "mitdb", header.stem, record.p_signal.T[leads], record.fs)
        annotation = wfdb.rdann(str(header.with_suffix("")), "atr")
        times = annotation.sample / record.fs
        found.runs, found.flutters = episodes(times, annotation.symbol, times[-1])
        for k, spans, least in ((VT, found.runs, 2.0), (VF, found.flutters, 3.0)):
            for start, end in spans:
                touched = (found.at > start) & (found.at - 8.0 < end)
                common = np.minimum(found.at, end) - np.maximum(found.at - (8.0 if k == VT else 4.0), start)
                positive = touched & (common >= least) & (found.at < end + (3.0 if k == VT else 1.0))
                found.labels[k, touched & (found.labels[k] == 0)] = -1
                found.labels[k, positive] = 1
        for start, end in found.flutters:
            found.labels[VT, (found.at > start) & (found.at - 8.0 < end)] = -1
        found.late = np.ones(len(found.at), bool)
        records.append(found)
    return records


def episodes(times, symbols, last):
    """Runs of five or more ventricular beats above 100 a minute, and flutter: starts and ends."""
    runs, flutters, run, start = [], [], [], None
    beats = set("NLRejAaJSVEF/fQ")

    def close():
        # The longest part that is fast.
        k = 0
        while k + 4 < len(run):
            j = k
            while j + 1 < len(run) and run[j + 1] - run[j] < 0.6:
                j += 1
            if j - k >= 4:
                runs.append((run[k], run[j]))
            k = j + 1

    for at, symbol in zip(times, symbols):
        if symbol == "[":
            start = at
        if symbol == "]" and start is not None:
            flutters.append((start, at))
            start = None
        if symbol in beats:
            if symbol in "VEF":
                run.append(at)
            else:
                close()
                run = []
    close()
    if start is not None:
        flutters.append((start, last))
    return runs, flutters


def simulated(cache):
    """VF of the simulator and of `oscillate`, and what is none."""
    records = []

    def add(name, samples, kind, onset=12.0):
        found = measured(cache, "simulated", name, samples, 250)
        if kind is not None:
            after = found.at - onset
            found.labels[kind] = np.where(after >= 3.5, 1, np.where(after > 0, -1, 0))
            other = 1 - kind
            found.labels[other, after > 0] = -1 if kind == VF else 0
        found.late = np.ones(len(found.at), bool)
        records.append(found)

    rng = np.random.default_rng(5)
    for seed in range(1000, 1040):
        gain, noise = rng.choice([0.3, 0.6, 1.0, 2.0]), rng.choice(["none", "rest", "ambulatory"])
        raw = example("simulate", seed, "vf", gain, noise)
        add(f"vf{seed}", np.frombuffer(raw, "<f4").reshape(3, -1), VF)
    for seed in range(1040, 1080):
        raw = example("simulate", seed, "sr72", 1.0, rng.choice(["none", "rest", "ambulatory"]))
        x = np.frombuffer(raw, "<f4").reshape(3, -1).copy()
        n = 24 * 250
        x[:, -n:] = x[:, -n:] * 0.03 + oscillate(rng, n)
        add(f"osc{seed}", x, VF)
    for seed, rhythm in enumerate(["sr50", "sr72", "sr110", "sr150", "sr180", "af", "single", "bigeminy", "asystole"] * 4, 1100):
        raw = example("simulate", seed, rhythm, rng.choice([0.5, 1.0, 2.0]), rng.choice(["rest", "ambulatory"]))
        add(f"{rhythm}{seed}", np.frombuffer(raw, "<f4").reshape(3, -1), None)
    for seed, rhythm in enumerate(["vt120", "vt150", "vt180", "vt210"] * 6, 1200):
        raw = example("simulate", seed, rhythm, rng.choice([0.5, 1.0, 2.0]), rng.choice(["rest", "ambulatory"]))
        add(f"{rhythm}{seed}", np.frombuffer(raw, "<f4").reshape(3, -1), VT)
    return records


def oscillate(rng, n):
    """Three leads of fibrillation, flutter or torsade by oscillators whose frequency and size wander, 250 Hz."""
    t = np.arange(n) / 250
    form = rng.choice(["fine", "coarse", "flutter", "torsade"])
    hz = {"fine": (4.0, 8.0), "coarse": (3.5, 6.0), "flutter": (3.3, 5.0), "torsade": (3.3, 5.0)}[form]
    size = {"fine": 0.15, "coarse": 0.6, "flutter": 0.9, "torsade": 0.9}[form] * rng.uniform(0.7, 1.5)
    wander = {"fine": 0.8, "coarse": 0.6, "flutter": 0.1, "torsade": 0.15}[form]
    leads = []
    common = None
    for _ in range(3):
        def smooth(seconds):
            knots = rng.normal(size=int(n / 250 / seconds) + 3)
            return np.interp(t, np.arange(len(knots)) * seconds, knots)

        if common is None or form in ("fine", "coarse"):
            common = 2 * np.pi * np.cumsum(rng.uniform(*hz) + wander * smooth(0.7)) / 250
        x = np.sin(common + rng.uniform(0, 6.3)) + rng.uniform(0, 0.4) * np.sin(2 * common + rng.uniform(0, 6.3))
        envelope = 1 + 0.3 * smooth(0.8)
        if form == "torsade":
            envelope = np.sin(np.pi * t / rng.uniform(1.5, 3.0) + rng.uniform(0, 3)) + 0.2
        if form == "fine":
            x = x + 0.7 * np.sin(2 * np.pi * np.cumsum(rng.uniform(3, 9) + smooth(0.5)) / 250)
        leads.append(size * rng.uniform(0.5, 1.2) * envelope * x)
    return np.array(leads) + rng.normal(0, 0.01, (3, n))


# ---- models ----


OPTIONS = {
    VT: dict(n_estimators=120, learning_rate=0.06, num_leaves=8, min_child_samples=60, max_bin=63, subsample=0.6,
             subsample_freq=1, colsample_bytree=0.3, reg_lambda=20.0),
    VF: dict(n_estimators=80, learning_rate=0.06, num_leaves=6, min_child_samples=60, max_bin=63, subsample=0.6,
             subsample_freq=1, colsample_bytree=0.3, reg_lambda=20.0),
}


class Model:
    def __init__(self, kind, booster, calibration=(1.0, 0.0)):
        self.kind, self.booster, self.calibration = kind, booster, calibration

    def say(self, record):
        """The logit of each second, NaN where no lead has a say."""
        n, leads, _ = record.rows.shape
        seen = ~np.isnan(record.rows[..., 0])
        logits = np.zeros((n, leads))
        if seen.any():
            logits[seen] = self.booster.predict(record.rows[seen], raw_score=True)
        weight = np.where(seen, 0.1 + record.rows[..., N - 8], 0.0)
        weight = np.nan_to_num(weight)
        total = weight.sum(1)
        mean = (weight * logits).sum(1) / np.maximum(total, 1e-9)
        return np.where(total > 0, self.calibration[0] * mean + self.calibration[1], np.nan)


# The weight of a source, the share of it that its positive seconds have, and its records' say.
SOURCES = {"cinc2015": 1.0, "mitdb": 1.0, "simulated": 0.3}


# Of every so many seconds that are nothing, and no alarm is near, one is learned from.
THIN = 3


def gather(records, kind, labels, positive_share=0.3):
    """Rows, targets and weights: records of a source and a class weigh alike (as the square root of what they have)."""
    rows, targets, weights = [], [], []
    for source, share in SOURCES.items():
        for value in (1, 0):
            some = [(r, np.flatnonzero(label == value)) for r, label in zip(records, labels) if r.source == source]
            if value == 0:
                near = {"cinc2015": lambda r, at: r.late[at], "mitdb": lambda r, at: at < 0, "simulated": lambda r, at: at >= 0}[source]
                some = [(r, at[near(r, at) | (at % THIN == 0)]) for r, at in some]
            some = [(r, at) for r, at in some if len(at)]
            if not some:
                continue
            root = np.array([np.sqrt(len(at)) for _, at in some])
            own = share * (positive_share if value else 1 - positive_share) / root.sum()
            for (r, at), weight in zip(some, root):
                lead_rows = r.rows[at].reshape(-1, N)
                seen = ~np.isnan(lead_rows[:, 0])
                rows.append(lead_rows[seen])
                targets.append(np.full(seen.sum(), value))
                weights.append(np.full(seen.sum(), own * weight / max(seen.sum(), 1)))
    rows, targets, weights = map(np.concatenate, (rows, targets, weights))
    return rows, targets, weights * len(weights) / weights.sum()


def boost(rows, targets, weights, kind):
    model = lightgbm.LGBMClassifier(**OPTIONS[kind], n_jobs=1, verbose=-1, deterministic=True, seed=1)
    return model.fit(rows, targets, sample_weight=weights)


def fit(records, kind, rounds=3):
    own = [name for name, k in ALARMS.items() if k == kind][0]
    labels = []
    for r in records:
        label = r.labels[kind].copy()
        if r.alarm == (own, True):
            label[r.at > r.at[-1] - 6.0] = 1
        labels.append(label)
    model = None
    for _ in range(rounds):
        if model is not None:
            for k, r in enumerate(records):
                if r.source != "cinc2015":
                    continue
                said = np.nan_to_num(model.say(r), nan=-20.0)
                label = r.labels[kind].copy()
                if r.alarm == (own, True):
                    late = np.flatnonzero(r.late)
                    best = late[np.argsort(-said[late])[:4]]
                    label[best] = 1
                else:
                    # Nobody looked at these.
                    label[~r.late & (said > 0.0)] = -1
                labels[k] = label
        model = Model(kind, boost(*gather(records, kind, labels), kind))
    return model


def score(said, record):
    late = said[record.late]
    late = late[~np.isnan(late)]
    return late.max() if len(late) else -20.0


def auc(true, false):
    true, false = np.asarray(true), np.asarray(false)
    if not len(true) or not len(false):
        return float("nan")
    return np.mean((true[:, None] > false) + 0.5 * (true[:, None] == false))


def fold_of(records):
    """By patient, stratified by what the records are."""
    folds, counts = {}, {}
    rng = np.random.default_rng(7)
    for k in rng.permutation(len(records)):
        r = records[k]
        if r.group in folds:
            continue
        stratum = (r.source, r.alarm, bool((r.labels == 1).any()))
        folds[r.group] = counts.setdefault(stratum, len(counts)) % FOLDS
        counts[stratum] += 1
    return np.array([folds[r.group] for r in records])


def calibrate(kind, records, said):
    """The line from what folds said of seconds of recordings to logits."""
    from sklearn.linear_model import LogisticRegression

    x, y, w = [], [], []
    for r, s in zip(records, said):
        if r.source == "simulated":
            continue
        label = r.labels[kind].copy()
        own = [name for name, k in ALARMS.items() if k == kind][0]
        if r.alarm == (own, True):
            late = np.flatnonzero(r.late & ~np.isnan(s))
            label[late[np.argsort(-s[late])[:4]]] = 1
        keep = (label >= 0) & ~np.isnan(s) & (r.late | (r.source == "mitdb"))
        x.append(s[keep])
        y.append(label[keep])
        w.append(np.full(keep.sum(), 1 / np.sqrt(max(keep.sum(), 1))))
    x, y, w = map(np.concatenate, (x, y, w))
    line = LogisticRegression(C=100.0).fit(x[:, None], y, sample_weight=w)
    return float(line.coef_[0, 0]), float(line.intercept_[0])


def report(records, said):
    for kind, name in ((VT, "Ventricular_Tachycardia"), (VF, "Ventricular_Flutter_Fib")):
        t = [score(s[kind], r) for r, s in zip(records, said) if r.alarm == (name, True)]
        f = [score(s[kind], r) for r, s in zip(records, said) if r.alarm == (name, False)]
        print(f"{name}: {len(t)} true, {len(f)} false, AUC {auc(t, f):.4f}", "true at", np.sort(np.round(t, 1))[:12])
    both = {True: [], False: []}
    for r, s in zip(records, said):
        if r.alarm and r.alarm[0] in ALARMS:
            both[r.alarm[1]].append(max(score(s[VT], r), score(s[VF], r)))
    print(f"pooled, the greater of both: AUC {auc(both[True], both[False]):.4f}")


def bytes_of(models):
    out = b"EVT1" + struct.pack("<H", N)
    for model in models:
        out += struct.pack("<ff", *model.calibration) + forest(model.booster)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folds", type=Path)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    records = cinc2015(options.data, options.cache) + mitdb(options.data, options.cache) + simulated(options.cache)
    folds = fold_of(records)
    said = [[None, None] for _ in records]
    models = [[None, None] for _ in range(FOLDS)]
    for fold in range(FOLDS):
        train = [r for r, f in zip(records, folds) if f != fold]
        for kind in (VT, VF):
            models[fold][kind] = fit(train, kind)
            for k in np.flatnonzero(folds == fold):
                said[k][kind] = models[fold][kind].say(records[k])
    lines = [[None, None] for _ in range(FOLDS)]
    for kind in (VT, VF):
        for fold in range(FOLDS):
            others = np.flatnonzero(folds != fold)
            lines[fold][kind] = calibrate(kind, [records[k] for k in others], [said[k][kind] for k in others])
            models[fold][kind].calibration = lines[fold][kind]
    shipped = calibrate(VT, records, [s[VT] for s in said]), calibrate(VF, records, [s[VF] for s in said])
    print("lines", [[round(x, 2) for x in line] for line in shipped])
    for k, fold in enumerate(folds):
        for kind in (VT, VF):
            a, b = lines[fold][kind]
            said[k][kind] = a * said[k][kind] + b
    report(records, said)
    if options.folds:
        options.folds.mkdir(parents=True, exist_ok=True)
        for r, fold in zip(records, folds):
            if r.source != "simulated":
                (options.folds / f"{r.name}.bin").write_bytes(bytes_of(models[fold]))
    if options.out:
        whole = [fit(records, kind) for kind in (VT, VF)]
        for model, line in zip(whole, shipped):
            model.calibration = line
        options.out.write_bytes(bytes_of(whole))


if __name__ == "__main__":
    main()
