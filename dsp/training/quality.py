"""Learns the weights of dsp/src/quality.rs, and says how good they are on records not learnt from.

    python3 -m venv venv && venv/bin/pip install numpy scipy
    cargo build -p dsp --release --example quality_input
    venv/bin/python dsp/training/quality.py data target/release/examples/quality_input

`data` holds cinc2011 (12-lead records of 10 s, called acceptable or unacceptable by their `quality.csv`),
mitdb and nstdb, of which 118e06 is learnt from: its noisy minutes are unusable, all others and 118e24 are usable. A record of cinc2011 is as bad as the worst of its leads, a lead as the mean of the worse half of
its seconds (of 1, 2, 3, 5 and 10 seconds, 5 did best in five-fold cross-validation within the training half).
Records are dealt to a training and a held-out half by the hash of their name; those of mitdb (of which
every second is taken to be usable) as well. Weights are never negative: more of
a feature is never better.
"""

import csv
import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

DATA, EXAMPLE = Path(sys.argv[1]), sys.argv[2]
N = 4
# Seconds of a lead that count.
WORST = 5
# Where the features are, and what the seconds of mitdb and of nstdb weigh beside the records.
F = slice(3, 7)
CLEAN, SHAKEN = 1.0, 0.3
NAMES = ["hiss", "jump", "turns", "drift"]


def measure(hz, leads):
    """For each lead its seconds [second, (score, ruled, noise, hiss, jump, turns, drift, range)] and its beats in samples."""
    data = b"".join(struct.pack("<Q", len(x)) + np.asarray(x, "<f4").tobytes() for x in leads)
    out = subprocess.run([EXAMPLE, str(hz)], input=data, stdout=subprocess.PIPE, check=True).stdout
    found, at = [], 0
    for _ in leads:
        n, beats = struct.unpack_from("<QQ", out, at)
        seconds = np.frombuffer(out, "<f4", 8 * n, at + 16).reshape(n, 8)
        at += 16 + 32 * n
        found.append((seconds.astype(float), np.frombuffer(out, "<f8", beats, at)))
        at += 8 * beats
    return found


def signals(header):
    """The two leads of a record of mitdb (format 212) or nstdb (16), mV, and their rate."""
    lines = header.read_text().splitlines()
    if lines[1].split()[1] == "16":
        pair = np.fromfile(header.with_suffix(".dat"), "<i2").reshape(-1, 2)
    else:
        raw = np.fromfile(header.with_suffix(".dat"), np.uint8).reshape(-1, 3).astype(int)
        pair = np.stack([raw[:, 0] | (raw[:, 1] & 15) << 8, raw[:, 2] | (raw[:, 1] & 240) << 4], 1)
        pair[pair > 2047] -= 4096
    gains = [float(line.split()[2].split("/")[0].split("(")[0]) for line in lines[1:3]]
    zeros = [float(line.split()[4]) for line in lines[1:3]]
    return [(pair[:, k] - zeros[k]) / gains[k] for k in range(2)], float(lines[0].split()[2])


def held_out(name):
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def auc(bad, good):
    """The chance that of two at random the bad one has the lower score."""
    bad, good = np.sort(bad), np.sort(good)
    below = np.searchsorted(bad, good, "left") + np.searchsorted(bad, good, "right")
    return below.sum() / 2 / len(bad) / len(good)


cinc = {}
rows = {row["record"]: row["quality"] for row in csv.DictReader((DATA / "cinc2011/quality.csv").open())}
names = sorted(name for name, quality in rows.items() if quality in ("acceptable", "unacceptable"))
leads = []
for name in names:
    x = np.fromfile(DATA / f"cinc2011/{name}.dat", "<i2").reshape(-1, 12) / 200.0
    leads += list(x.T)
found = measure(250, leads)
for k, name in enumerate(names):
    cinc[name] = (rows[name] == "unacceptable", found[12 * k : 12 * k + 12])
mit, hissing = {}, {0.08: [], 0.3: []}
rng = np.random.default_rng(2011)
for header in sorted((DATA / "mitdb").glob("*.hea")):
    x, hz = signals(header)
    mit[header.stem] = measure(hz, x)
    if not held_out(header.stem):
        for level, seconds in hissing.items():
            part = [lead[: int(300 * hz)] + rng.normal(0, level, int(300 * hz)) for lead in x]
            seconds += [s for s, _ in measure(hz, part)]


def rules(seconds):
    """What is not learnt. Muscle and hum: half at 0.12 mV of mean size above 38 Hz. Range: half at 9 mV."""
    noise, extent = seconds[..., 2], seconds[..., 7]
    return 1 - np.minimum(1 / (1 + (noise / 0.12) ** 2), 1 / (1 + (extent / 9.0) ** 4))


def badness(weights, limit, seconds):
    z = np.clip(seconds[..., F] @ weights - limit, -50, 50)
    both = np.maximum(1 / (1 + np.exp(-z)), rules(seconds))
    return np.where(seconds[..., 1] > 0, 1.0, both)


def fixed(seconds, p):
    """Where the learnt part has no say."""
    return (seconds[..., 1] > 0) | (p <= rules(seconds))


train = [name for name in names if not held_out(name)]
test = [name for name in names if held_out(name)]
stack = {name: np.stack([s for s, _ in cinc[name][1]]) for name in names}
X = np.stack([stack[name] for name in train])
y = np.array([cinc[name][0] for name in train], float)
noisy_lead, hz = signals(DATA / "nstdb/118e06.hea")
less_noisy, _ = signals(DATA / "nstdb/118e24.hea")
noisy_seconds, less_noisy_seconds = measure(hz, noisy_lead), measure(hz, less_noisy)
t = np.arange(len(noisy_seconds[0][0]))
noisy = (t >= 300) & ((t - 300) % 240 < 120)
shaken = np.concatenate([s[noisy] for s, _ in noisy_seconds])
still = [s[~noisy] for s, _ in noisy_seconds] + [s for s, _ in less_noisy_seconds]
clean = np.concatenate(still + [s for name, r in mit.items() if not held_out(name) for s, _ in r] + hissing[0.08])


def loss(theta):
    weights, limit = theta[:N], theta[N]
    p = badness(weights, limit, X)
    order = np.argsort(-p, 2)[..., :WORST]
    lead = np.take_along_axis(p, order, 2).mean(2)
    worst = lead.argmax(1)
    k = np.arange(len(X))
    q = np.clip(lead[k, worst], 1e-4, 1 - 1e-4)
    value = -np.mean(y * np.log(q) + (1 - y) * np.log(1 - q))
    slope = (q - y) / (q * (1 - q)) / len(X)
    xs = np.take_along_axis(X[k, worst], order[k, worst][..., None], 1)
    ps = np.take_along_axis(p[k, worst], order[k, worst], 1)
    d = slope[:, None] * np.where(fixed(xs, ps), 0, ps * (1 - ps)) / WORST
    grad = np.append(np.einsum("ns,nsf->f", d, xs[..., F]), -d.sum())
    # Every second of the clean records is usable.
    c = badness(weights, limit, clean)
    value += -CLEAN * np.mean(np.log(np.clip(1 - c, 1e-6, 1)))
    e = CLEAN * np.where(fixed(clean, c), 0, c) / len(clean)
    grad += np.append(e @ clean[:, F], -e.sum())
    # None is in the noise of 118e06, six decibels over the signal.
    c = badness(weights, limit, shaken)
    value += -SHAKEN * np.mean(np.log(np.clip(c, 1e-6, 1)))
    e = SHAKEN * np.where(fixed(shaken, c), 0, c - 1) / len(shaken)
    grad += np.append(e @ shaken[:, F], -e.sum())
    value += 1e-3 * weights @ weights
    grad[:N] += 2e-3 * weights
    return value, grad


best = None
for seed in range(6):
    start = np.append(np.random.default_rng(seed).uniform(0.2, 1.5, N), 5.0)
    fit = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, 8)] * N + [(0, 40)])
    if best is None or fit.fun < best.fun:
        best = fit
weights = np.round(best.x[:N], 2)
# Usable is what all but one in 200 of the clean seconds are.
limit = round(float(np.quantile(clean[clean[:, 1] == 0][:, F] @ weights, 0.995)), 2)
print("weights", dict(zip(NAMES, weights.tolist())), "limit", float(limit), "loss", round(best.fun, 4))


def before(seconds):
    """The score without what is learnt."""
    return np.where(seconds[..., 1] > 0, 0, 1 - rules(seconds))


def after(seconds):
    return 1 - badness(weights, limit, seconds)


def record(score, name):
    return np.sort(score(stack[name]), 1)[:, :WORST].mean(1).min()


for what, score in [("rules alone", before), ("with what is learnt", after)]:
    print(f"== {what}")
    scores = {name: record(score, name) for name in names}
    # The least score of an acceptable record: chosen on the training half.
    cuts = np.linspace(0.02, 0.98, 97)
    right = [np.mean([(scores[n] < cut) == cinc[n][0] for n in train]) for cut in cuts]
    cut = cuts[int(np.argmax(right))]
    for half, of in [("training", train), ("held out", test)]:
        bad = np.array([scores[n] for n in of if cinc[n][0]])
        good = np.array([scores[n] for n in of if not cinc[n][0]])
        accuracy = ((bad < cut).sum() + (good >= cut).sum()) / len(of)
        at_half = ((bad < 0.5).sum() + (good >= 0.5).sum()) / len(of)
        print(f"cinc2011 {half}: {len(bad)} bad {len(good)} good, AUC {auc(bad, good):.3f}, "
              f"accuracy {accuracy:.3f} at {cut:.2f}, {at_half:.3f} at 0.50")
    print("muscle noise, training: usable " + ", ".join(
        f"{np.mean(score(np.concatenate(s)) >= 0.5):.3f} at {level} mV" for level, s in hissing.items()))
    usable = [np.mean(score(s) >= 0.5) for n, r in mit.items() if held_out(n) for s, _ in r]
    print(f"mitdb held out: usable {np.mean(usable):.4f} of lead-seconds, least lead {min(usable):.3f}")
    beats = {}
    for name in test:
        for seconds, peaks in cinc[name][1]:
            ok = score(seconds) >= 0.5
            n = ok[np.minimum((peaks / 250).astype(int), len(ok) - 1)].sum()
            row = beats.setdefault(cinc[name][0], [0, 0, 0, 0])
            beats[cinc[name][0]] = [a + b for a, b in zip(row, [len(peaks), n, len(ok), ok.sum()])]
    for bad, (n, n_usable, seconds, n_ok) in sorted(beats.items()):
        print(f"{'unacceptable' if bad else 'acceptable'} records held out: {n} beats, {n_usable} of them in usable "
              f"seconds ({n_ok / seconds:.3f} of all)")

pure = [(a - b) / (1 - 10 ** (-30 / 20)) for a, b in zip(noisy_lead, less_noisy)]
for what, found in [("118e06", noisy_seconds), ("118e24", less_noisy_seconds), ("noise of 118e06 alone", measure(hz, pure))]:
    for name, score in [("rules alone", before), ("with what is learnt", after)]:
        for k, (seconds, peaks) in enumerate(found):
            s = score(seconds)
            at = np.minimum((peaks / hz).astype(int), len(s) - 1)
            print(f"{what} lead {k} {name}: usable {np.mean(s[noisy] >= 0.5):.3f} of noisy, {np.mean(s[~noisy] >= 0.5):.3f} of "
                  f"clean seconds, AUC {auc(s[noisy], s[~noisy]):.3f}; beats in noisy seconds {noisy[at].sum()}, of these in "
                  f"usable ones {(noisy[at] & (s[at] >= 0.5)).sum()}")
