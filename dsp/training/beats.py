"""Fits the classes of beats: from recordings to `dsp/src/class/weights.bin`.

    cargo build --release -p dsp --example beat_features
    python dsp/training/beats.py MITDB VITALDB --out dsp/src/class/weights.bin
    python dsp/training/beats.py MITDB VITALDB --cross-validate [--folds DIR]

MITDB is a folder with records of the MIT-BIH Arrhythmia Database (.hea, .dat, .atr), VITALDB one with the annotation files of
the VitalDB arrhythmia database (beat times and types, no signals). Needs numpy, wfdb, scikit-learn and lightgbm.

1. The example `beat_features` runs the chain over each record, both leads at hand and each lead alone, and
   writes what the classifier sees: training and service use the same code.
2. Beats get the label of the reference beat that EC57 pairs them with; F, Q and unpaired beats are left out, and so are the paced
   records.
3. Three forests learn from the intervals of VitalDB: S against N, V against N, and atrial fibrillation against
   other rhythms. Beats of fibrillation, which VitalDB labels S and MIT-BIH labels N, count as N.
4. A forest and a line learn V against N and S from shape and from what the forest of V says; each lead of
   MIT-BIH is a sample, and a patient counts with the square root of what it has. S is not fitted to MIT-BIH but for
   `S_WEIGHTS` and the limits.
5. A beat that looks like the last or the last but one is judged together with it.

`--cross-validate` leaves one patient out at a time and prints the counts by the rules of EC57 (first five minutes
not scored), as `einthoven evaluate beats` does. With `--folds` it writes the weights of each fold to
`DIR/RECORD.bin`, for `evaluate beats --model` (and `--detector`, with what `qrs.py --folds` writes).
"""

import argparse
import csv
import struct
import subprocess
from collections import Counter
from pathlib import Path

import lightgbm
import numpy as np
import wfdb
from sklearn.linear_model import LogisticRegression

EXAMPLE = "target/release/examples/beat_features"
N_RHYTHM, N_SHAPE = 24, 44
PACED = {"102", "104", "107", "217"}
CLASSES = {
    **dict.fromkeys("NLRej", "N"),
    **dict.fromkeys("AaJS", "S"),
    **dict.fromkeys("VE", "V"),
    "F": "F",
    **dict.fromkeys("/fQ", "Q"),
}
# One patient.
TOGETHER = {"201": "202", "202": "201"}

RHYTHM = dict(n_estimators=150, learning_rate=0.08, num_leaves=12, min_child_samples=200,
              colsample_bytree=0.5, reg_lambda=20.0)
LEAD = dict(n_estimators=100, learning_rate=0.06, num_leaves=8, min_child_samples=150, max_bin=63,
            subsample=0.5, subsample_freq=1, colsample_bytree=0.3, reg_lambda=30.0)
LINE = 0.003  # inverse of the ridge
# Of these beats a patient has its say in full.
PLENTY = (50, 40, 40)
# The share of normal beats that are learned from.
SHARE = 0.25
P_WAVE = 17
LAST_FIT, LAST_BUT_ONE_FIT = 10, 43
# Columns of a row, shape and what the intervals say of V, that V is judged by.
COLUMNS = np.delete(np.arange(N_SHAPE + 1), LAST_BUT_ONE_FIT)
# What fibrillation and a usual P wave take from S.
S_WEIGHTS = (0.5, 0.5)
# How well the QRS of two beats must fit for them to be alike, and what the other one weighs then.
VOTE = (0.9, 0.6)
VOTE_SECONDS = 2.0
# Logits above which a beat is S or V.
LIMITS = (-2.05, -0.6)


# ---- data ----


def pair(reference, found, window=0.15):
    """For each found beat the index of its reference beat, or -1; the cases of `src/evaluate/ec57.rs`."""
    pairs = np.full(len(found), -1)
    i = j = 0
    while i < len(reference) and j < len(found):
        r, t = reference[i], found[j]
        distance = abs(r - t)
        more_r, more_t = i + 1 < len(reference), j + 1 < len(found)
        both = abs(reference[i + 1] - found[j + 1]) if more_r and more_t else None

        def free(near):
            return near < distance and (both is None or both >= near)

        missed = None
        if distance > window:
            missed = bool(r < t)
        elif more_r and free(abs(reference[i + 1] - t)):
            missed = True
        elif more_t and free(abs(r - found[j + 1])):
            missed = False
        if missed is None:
            pairs[j] = i
        i += missed is not False
        j += missed is not True
    return pairs


class Record:
    """The `beats` in seconds, features `context` and `near` of their rhythm [beat, feature] and `shape` [beat, lead, feature],
    and a label for each: N, S, V, F, Q, O for no beat, X for none in flutter; which count; and how many of each
    class were missed."""

    def __init__(self, path, leads):
        self.name = path.stem
        record = wfdb.rdrecord(str(path.with_suffix("")))
        samples = record.p_signal.T.astype("<f4")[leads]
        raw = run([str(record.fs), str(len(samples))], np.nan_to_num(samples).tobytes())
        n = int(np.frombuffer(raw[:8], "<u8")[0])
        beats = np.frombuffer(raw[8 : 8 + 8 * n], "<f8")
        rows = np.frombuffer(raw[8 + 8 * n :], "<f4").reshape(n, 2 * N_RHYTHM + len(samples) * N_SHAPE)
        self.beats = beats
        self.context, self.near = rows[:, :N_RHYTHM], rows[:, N_RHYTHM : 2 * N_RHYTHM]
        self.shape = rows[:, 2 * N_RHYTHM :].reshape(n, len(samples), N_SHAPE)

        annotation = wfdb.rdann(str(path.with_suffix("")), "atr")
        times = annotation.sample / record.fs
        symbols = np.array(annotation.symbol)
        flutter = np.zeros(len(times), bool)
        inside = False
        spans = []
        for k, symbol in enumerate(symbols):
            if symbol == "[":
                inside, start = True, times[k]
            if symbol == "]":
                inside = False
                spans.append((start, times[k]))
            flutter[k] = inside
        keep = np.array([s in CLASSES for s in symbols]) & ~flutter
        times, classes = times[keep], np.array([CLASSES[s] for s in symbols[keep]])
        pairs = pair(times, beats)
        self.labels = np.where(pairs < 0, "O", classes[np.maximum(pairs, 0)])
        for start, end in spans:
            self.labels[(pairs < 0) & (beats >= start) & (beats < end)] = "X"
        when = np.where(pairs < 0, beats, times[np.maximum(pairs, 0)])
        self.counted = when >= 300.0
        missed = np.setdiff1d(np.arange(len(times)), pairs[pairs >= 0])
        self.missed = Counter(classes[missed[times[missed] >= 300.0]])


def run(arguments, data):
    return subprocess.run([EXAMPLE, *arguments], input=data, capture_output=True, check=True).stdout


def vitaldb(folder):
    """Of the beats of all patients: both sets of rhythm features [beat, set, feature], label (0, 1, 2 for N, S, V or -1), whether the rhythm is
    fibrillation (1, 0 or -1), and the weights for both."""
    rng = np.random.default_rng(0)
    parts = []
    for path in sorted(Path(folder).glob("Annotation*.csv")):
        with path.open(encoding="utf-8-sig") as file:
            beats = [row for row in csv.DictReader(file) if row["beat_type"]]
        beats.sort(key=lambda row: float(row["time_second"]))
        times = np.array([float(row["time_second"]) for row in beats])
        # Beats that are given twice.
        beats = [row for row, new in zip(beats, np.diff(times, prepend=-1.0) > 0.15) if new]
        times = np.array([float(row["time_second"]) for row in beats])
        if len(times) < 20:
            continue
        rhythm = np.array([row["rhythm_label"] for row in beats])
        bad = np.array([row["bad_signal_quality"] == "True" for row in beats])
        bad |= np.isin(rhythm, ["Noise", "Unclassifiable"])
        label = np.array([{"N": 0, "S": 1, "V": 2}.get(row["beat_type"], -1) for row in beats])
        label[(rhythm == "AFIB/AFL") & (label == 1)] = 0
        label[bad | (np.diff(times, prepend=times[0] - 9.0) > 3.0)] = -1
        # A third of the many will do.
        label[(label == 0) & (rng.random(len(label)) > 0.35)] = -1
        fibrillates = np.where(bad | (rhythm == ""), -1, rhythm == "AFIB/AFL")
        fibrillates[rng.random(len(label)) > 0.3] = -1
        raw = run(["beats"], times.astype("<f8").tobytes())
        rows = np.frombuffer(raw, "<f4").reshape(-1, 2, N_RHYTHM)
        parts.append((rows, label, fibrillates, weigh(label, (250, 100, 100)), weigh(fibrillates, (150, 150))))
    return [np.concatenate(part) for part in zip(*parts)]


def weigh(labels, plenty):
    """Weights of the beats of one patient: beyond `plenty` of a class, twice as many weigh 1.4 times as much."""
    weights = np.ones(len(labels))
    for label, enough in enumerate(plenty):
        n = np.sum(labels == label)
        if n > enough:
            weights[labels == label] = np.sqrt(enough / n)
    return weights


# ---- models ----


def boost(rows, target, weights, options):
    model = lightgbm.LGBMClassifier(**options, n_jobs=1, verbose=-1, deterministic=True, seed=1)
    return model.fit(rows, target, sample_weight=weights)


def logit(model, rows):
    return model.predict(rows, raw_score=True)


def fit_rhythm(folder):
    rows, label, fibrillates, weights, others = vitaldb(folder)
    s, v, f = (label >= 0) & (label != 2), (label >= 0) & (label != 1), fibrillates >= 0
    return [
        boost(rows[s, 0], label[s] == 1, weights[s], RHYTHM),
        boost(rows[v, 1], label[v] == 2, weights[v], RHYTHM),
        boost(rows[f, 0], fibrillates[f] == 1, others[f], dict(RHYTHM, n_estimators=100)),
    ]


class Line:
    """A ridge logistic regression on standardized features and their absolute values, as in `model.rs`."""

    def __init__(self, rows, target, weights):
        rows = self.clean(rows)
        self.mean = rows.mean(0)
        self.scale = 1 / (rows.std(0) + 1e-6)
        ridge = LogisticRegression(C=LINE, solver="newton-cholesky")
        ridge.fit(self.terms(rows).astype("f8"), target, sample_weight=weights)
        self.first = ridge.intercept_[0]
        self.weights = ridge.coef_[0].reshape(2, -1)

    @staticmethod
    def clean(rows):
        return np.clip(np.where(rows <= -9.0, 0.0, rows), -12.0, 12.0)

    def terms(self, rows):
        z = np.clip((rows - self.mean) * self.scale, -4.0, 4.0)
        return np.hstack([z, np.abs(z)])

    def logit(self, rows):
        return self.terms(self.clean(rows)) @ self.weights.ravel() + self.first


def table(rhythm, record):
    """[lead, beat, feature] in the order of `model.rs`."""
    said = logit(rhythm[1], record.near)[:, None]
    rows = [np.hstack([record.shape[:, k], said]) for k in range(record.shape.shape[1])]
    return np.stack(rows).astype("f4")


def fit_lead(rhythm, records):
    """Forest and line of V."""
    rows, labels, weights = [], [], []
    for record in records:
        keep = np.isin(record.labels, list("NSV"))
        label = np.array(["NSV".index(label) for label in record.labels[keep]])
        weight = weigh(label, PLENTY)
        # Fewer normal beats, of more weight.
        rng = np.random.default_rng(int(record.name) if record.name.isdigit() else 0)
        some = (label > 0) | (rng.random(len(label)) < SHARE)
        weight = np.where(label == 0, 1 / SHARE, 1) * weight
        for lead in table(rhythm, record)[:, keep][:, :, COLUMNS]:
            seen = ~np.isnan(lead).any(1) & some
            rows.append(lead[seen])
            labels.append(label[seen] == 2)
            weights.append(weight[seen])
    data = [np.concatenate(part) for part in (rows, labels, weights)]
    return boost(*data, LEAD), Line(*data)


def say(rhythm, lead, record):
    """Logits of S and V of each beat."""
    rows = table(rhythm, record)[:, :, COLUMNS]
    shown = ~np.isnan(rows).any(2)
    v = [np.where(seen, (logit(lead[0], row) + lead[1].logit(np.nan_to_num(row))) / 2, 0.0)
         for row, seen in zip(rows, shown)]
    wave = np.nan_to_num(record.shape[:, :, P_WAVE].T)
    wave = np.where((wave <= -9.0) | ~shown, 0.0, np.clip(wave, -0.5, 1.0))
    n = np.maximum(shown.sum(0), 1)
    fibrillates = np.maximum(0, logit(rhythm[2], record.context) + 1)
    s = logit(rhythm[0], record.context) - S_WEIGHTS[0] * fibrillates - S_WEIGHTS[1] * wave.sum(0) / n
    v = vote(record, np.sum(v, 0) / n, shown)
    return np.stack([s, v], 1), shown.any(0)


def vote(record, v, shown):
    """The mean of the logits of V of each beat and of the last two where they are alike."""
    total, weight = v.copy(), np.ones(len(v))
    for back, column in ((1, LAST_FIT), (2, LAST_BUT_ONE_FIT)):
        fit = np.where(shown, record.shape[:, :, column].T, 0.0).sum(0) / np.maximum(shown.sum(0), 1)
        close = record.beats[back:] - record.beats[:-back] <= VOTE_SECONDS
        alike = close & (fit[back:] > VOTE[0]) & shown.any(0)[:-back]
        total[back:] += np.where(alike, VOTE[1] * v[:-back], 0.0)
        weight[back:] += np.where(alike, VOTE[1], 0.0)
    return total / weight


def decide(said, shown):
    classes = np.where(said[:, 1] > LIMITS[1], "V", np.where(said[:, 0] > LIMITS[0], "S", "N"))
    return np.where(shown, classes, "Q")


def count(record, classes):
    """[VEB, SVEB] as (tp, fn, fp). A V on F or Q, and an S on Q, is no error."""
    cells = Counter(zip(record.labels[record.counted], classes[record.counted]))
    counts = []
    for own, forgiven in (("V", "VFQX"), ("S", "SQX")):
        tp = cells[own, own]
        fn = sum(n for (a, b), n in cells.items() if a == own != b) + record.missed[own]
        fp = sum(n for (a, b), n in cells.items() if b == own and a not in forgiven)
        counts.append((tp, fn, fp))
    return np.array(counts)


# ---- file ----


def forest(model, columns=None, factor=1.0):
    """The bytes of a forest times `factor`; `columns` are those of a row that it sees."""
    trees = [tree["tree_structure"] for tree in model.booster_.dump_model()["tree_info"]]
    trees = [tree for tree in trees if "split_feature" in tree]
    out = struct.pack("<H", len(trees))
    for tree in trees:
        splits, leaves = [], []

        def walk(node):
            if "leaf_value" in node:
                leaves.append(factor * node["leaf_value"])
                return -len(leaves)
            at = len(splits)
            splits.append(None)
            children = walk(node["left_child"]), walk(node["right_child"])
            assert node["decision_type"] == "<="
            splits[at] = (node["split_feature"], node["threshold"], *children)
            return at

        walk(tree)
        out += struct.pack("<B", len(splits))
        for feature, limit, left, right in splits:
            if columns is not None:
                feature = columns[feature]
            # The largest f32 that is not above the limit decides the same for f32 features.
            rounded = np.float32(limit)
            if rounded > limit:
                rounded = np.nextafter(rounded, np.float32(-np.inf))
            out += struct.pack("<Bfbb", feature, rounded, left, right)
        out += struct.pack(f"<{len(leaves)}f", *leaves)
    return out


def line(model, columns, factor):
    terms = np.zeros((N_SHAPE + 1, 4))
    terms[columns] = np.stack([model.mean, model.scale, *(factor * model.weights)], 1)
    return struct.pack("<f", factor * model.first) + terms.astype("<f4").tobytes()


def weights(rhythm, lead):
    out = b"EBC2" + struct.pack("<HH6f", N_RHYTHM, N_SHAPE, *LIMITS, *S_WEIGHTS, *VOTE)
    out += b"".join(forest(model) for model in rhythm)
    return out + forest(lead[0], COLUMNS, 0.5) + line(lead[1], COLUMNS, 0.5)


# ---- main ----


def percent(part, whole):
    return 100.0 * part / whole if whole else float("nan")


def row(name, counts):
    cells = []
    for tp, fn, fp in counts:
        cells.append(f"{percent(tp, tp + fn):7.2f} {percent(tp, tp + fp):7.2f} {tp:6} {fn:6} {fp:6}")
    return f"{name:8}" + "   ".join(cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mitdb", type=Path)
    parser.add_argument("vitaldb", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cross-validate", action="store_true")
    parser.add_argument("--folds", type=Path)
    parser.add_argument("--example", default=EXAMPLE, help="the program that gives the features")
    arguments = parser.parse_args()
    globals()["EXAMPLE"] = arguments.example

    paths = [p for p in sorted(arguments.mitdb.glob("*.hea")) if p.stem not in PACED]
    both = [Record(path, [0, 1]) for path in paths]
    rhythm = fit_rhythm(arguments.vitaldb)
    if arguments.out:
        arguments.out.write_bytes(weights(rhythm, fit_lead(rhythm, both)))
    if not (arguments.cross_validate or arguments.folds):
        return
    print("record     VEB Se      +P     tp     fn     fp   SVEB Se      +P     tp     fn     fp")
    total = 0
    for left_out in both:
        others = [r for r in both if r is not left_out and r.name != TOGETHER.get(left_out.name)]
        lead = fit_lead(rhythm, others)
        counts = count(left_out, decide(*say(rhythm, lead, left_out)))
        total = total + counts
        print(row(left_out.name, counts), flush=True)
        if arguments.folds:
            arguments.folds.mkdir(parents=True, exist_ok=True)
            (arguments.folds / f"{left_out.name}.bin").write_bytes(weights(rhythm, lead))
    print(row("gross", total))


if __name__ == "__main__":
    main()
