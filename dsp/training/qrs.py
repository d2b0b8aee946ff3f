"""Fit the networks of dsp/src/qrs: `python dsp/training/qrs.py DATA OUT [--folds DIR] [--noise 0,1]`.

DATA is the folder with mitdb, nstdb, ludb and ptbxl, OUT the file of weights to write (`weights.bin`).
What is to be expected of patients never seen is printed on the way: four folds over the records of
mitdb, each scored by networks that were fitted without it. With `--folds` the weights of each fold go to
`DIR/K.bin` and links to its records to `DIR/K/`, for `einthoven evaluate qrs DIR/K --weights DIR/K.bin`. Then
all is fitted to everything.

1. The leads are played to the detector, as they are and with faults added: electrode motion of
   nstdb and invented one, muscle, hum, steps, dropouts; mirrored, scaled, faster and slower.
2. The first network is fitted to what is seen around each candidate.
3. In PTB-XL nobody marked the beats: what the sum of the first opinions of all twelve leads says is taken for the
   truth in each lead, and the first network is fitted again with these leads.
4. All is played again with the opinions of a first network that did not learn from the record,
   so that the second network learns from opinions as good as they will be for strangers.
5. The second network is fitted.

`--noise` says which signals of the recorded electrode motion are learnt from, both without it. To see what noise never
heard does, leave out 0, which is what `evaluate qrs --noise` adds to a first signal.

Needs numpy, scipy, torch and wfdb, and cargo for the service's own view of the leads. The random
numbers are seeded; a run takes some ten minutes of two cores.
"""

import argparse
import json
import pickle
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
import wfdb
from scipy.signal import butter, lfilter, sosfilt
from torch import nn
from torch.nn import functional

N_SIGHT, N_CONTEXT = 125, 43
FIRST, SECOND = (32, 16), (128, 32)
FOLDS = 4
BEATS = set("NLRBAaJSVrFejnE/fQ?")
ECTOPIC = set("VFEae")
# What a stream is, and how much its rows count.
WEIGHTS = {"clean": 1.0, "ludb": 1.0, "ptbxl": 0.5, "motion": 0.4, "fault": 0.4}
# How much more a beat counts than what is none, where a lead is not made worse than it is; and odd beats once more.
BEAT, ODD = 2.0, 3.0
# Added to the log-odds: the faults in the training make the networks more doubtful than
# most recordings warrant.
TRUST = 0.5
# The noise of `motion`, root mean square in the QRS band over the height of the complexes.
MOTION = (0.015, 0.16)
LEADS = ["i", "ii", "iii", "avr", "avl", "avf", "v1", "v2", "v3", "v4", "v5", "v6"]

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("data", type=Path)
arguments.add_argument("out", type=Path)
arguments.add_argument("--folds", type=Path)
arguments.add_argument("--noise", default="0,1")
ARGUMENTS = arguments.parse_args()
DATA = ARGUMENTS.data
HEARD = [int(signal) for signal in ARGUMENTS.noise.split(",")]

Spans = list[tuple[float, float]]


@dataclass
class Stream:
    """A lead with its beats, and where nothing is known of beats."""

    lead: np.ndarray
    beats: np.ndarray
    hz: float
    unknown: Spans = field(default_factory=list)
    odd: np.ndarray = field(default_factory=lambda: np.zeros(0))


@cache
def detector() -> Path:
    """The program that shows what the detector sees, freshly built."""
    build = ["cargo", "build", "-q", "--release", "-p", "dsp", "--example", "qrs_candidates"]
    subprocess.run(build, check=True)
    metadata = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    about = subprocess.run(metadata, stdout=subprocess.PIPE, check=True).stdout
    return Path(json.loads(about)["target_directory"]) / "release/examples/qrs_candidates"


def played(lead: np.ndarray, hz: float, weights: Path) -> np.ndarray:
    """[candidate, 3 + inputs]: middle, R peak, log-odds, inputs, by the detector itself."""
    raw = np.asarray(lead, "<f4").tobytes()
    run = [str(detector()), str(hz), str(weights)]
    out = subprocess.run(run, input=raw, stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(out, "<f4").reshape(-1, 3 + N_SIGHT + N_CONTEXT)


# Faults


def trimmed_mean(values: np.ndarray, share: float) -> float:
    """The mean without the largest and smallest share."""
    cut = int(share * len(values))
    return float(np.sort(values)[cut : len(values) - cut].mean())


def qrs_height(stream: Stream) -> float:
    """Peak to peak, as `nst` of WFDB measures it."""
    reach = int(0.05 * stream.hz)
    near = [stream.lead[max(0, k - reach) : k + reach + 1] for k in stream.beats[:300]]
    return trimmed_mean(np.array([np.ptp(part) for part in near]), 0.05) if near else 1.0


def noise_gain(stream: Stream, db: float) -> float:
    """What noise of unit size is to be multiplied by, as `nst` counts."""
    return float(np.sqrt(qrs_height(stream) ** 2 / 8 / 10 ** (db / 10)))


@cache
def motion_noise() -> list[np.ndarray]:
    """Stretches of recorded electrode motion, 360 Hz, of the signals that are heard."""
    clean = wfdb.rdrecord(str(DATA / "mitdb/118")).p_signal
    noise = (wfdb.rdrecord(str(DATA / "nstdb/118e06")).p_signal - clean).T.astype("f4")
    starts = range(300, 1800, 240)
    return [noise[k, 360 * a : 360 * min(a + 120, 1800)] for k in HEARD for a in starts]


def recorded(rng: np.random.Generator, n: int) -> np.ndarray:
    """`n` samples of it at 360 Hz, shuffled, mirrored, at other paces, mixed, and darker or lighter."""

    def piece() -> np.ndarray:
        stretches = motion_noise()
        part = stretches[rng.integers(len(stretches))]
        pace = np.exp(rng.uniform(-0.5, 0.5)) if rng.random() < 0.7 else 1.0
        part = np.interp(np.arange(0, len(part) - 1, pace), np.arange(len(part)), part)
        return part[:: rng.choice([-1, 1])] * rng.choice([-1, 1])

    out, at = np.zeros(n), 0
    while at < n:
        part = piece()
        if rng.random() < 0.4:
            other = piece()
            m = min(len(part), len(other))
            part = part[:m] + rng.normal() * 0.7 * other[:m]
        length = int(rng.integers(10, 60)) * 360
        start = rng.integers(0, max(1, len(part) - length))
        part = part[start : start + length][: n - at]
        out[at : at + len(part)] = part - part[0] + (out[at - 1] if at else 0)
        at += len(part)
    if rng.random() < 0.6:
        keep = np.exp(-2 * np.pi * rng.uniform(1, 6) / 360)
        out += rng.uniform(-0.7, 3) * lfilter([1 - keep], [1, -keep], out)
    return out


def invented(rng: np.random.Generator, n: int) -> np.ndarray:
    """`n` samples of other noise at 360 Hz: jumps, and bands that swell and fade."""

    def swelling(low: float, high: float) -> np.ndarray:
        loudness = coloured(rng, n, 360, 0, rng.uniform(0.1, 1.5))
        return coloured(rng, n, 360, low, high) * np.exp(rng.uniform(0, 1.2) * loudness)

    kind = rng.random()
    if kind < 0.45:
        return jumps(rng, n, 360)
    if kind < 0.8:
        lows = rng.uniform(0.3, 15, size=rng.integers(1, 4))
        return sum(rng.exponential() * swelling(low, low * rng.uniform(1.3, 4)) for low in lows)
    return jumps(rng, n, 360) + 0.7 * rng.random() * swelling(1, rng.uniform(5, 40))


QRS_BAND = butter(2, [6, 18], "bandpass", fs=360, output="sos")


def size_in_band(noise: np.ndarray) -> float:
    """Root mean square in the QRS band, at 360 Hz, of a usual second."""
    band = sosfilt(QRS_BAND, noise)[360:]
    seconds = band[: len(band) // 360 * 360].reshape(-1, 360)
    return (trimmed_mean(seconds.std(1), 0.1) if len(seconds) else band.std()) + 1e-9


def coloured(rng: np.random.Generator, n: int, hz: float, low: float, high: float) -> np.ndarray:
    """Noise of unit size in a band."""
    spectrum = np.fft.rfft(rng.normal(size=n))
    at = np.fft.rfftfreq(n, 1 / hz)
    spectrum[(at < low) | (at > high)] = 0
    out = np.fft.irfft(spectrum, n)
    return (out / max(out.std(), 1e-9)).astype("f4")


def jumps(rng: np.random.Generator, n: int, hz: float) -> np.ndarray:
    """Electrode motion as one would invent it: jumps that decay over slow unrest; unit size."""
    out = np.zeros(n)
    for _ in range(int(n / hz * rng.uniform(0.3, 2))):
        at, tau, rise = rng.integers(n), rng.uniform(0.05, 0.8) * hz, rng.uniform(0.01, 0.15) * hz
        t = np.arange(int(min(n - at, 5 * tau)))
        out[at : at + len(t)] += rng.normal() * (1 - np.exp(-t / rise)) * np.exp(-t / tau)
    out += 0.4 * coloured(rng, n, hz, 0.3, 12)
    return (out / max(out.std(), 1e-9)).astype("f4")


def with_motion(rng: np.random.Generator, stream: Stream) -> np.ndarray:
    """The lead with electrode motion, faint to overwhelming, in most stretches of up to a minute."""
    lead, hz, n = stream.lead.copy(), stream.hz, len(stream.lead)
    m = int(n * 360 / hz) + 2
    noise = recorded(rng, m) if rng.random() < 0.7 else invented(rng, m)
    noise = np.interp(np.arange(n) * 360 / hz, np.arange(m), noise / size_in_band(noise))
    height, at = qrs_height(stream), 0
    while at < n:
        end = at + int(rng.uniform(5, 60) * hz)
        if rng.random() < 0.8:
            lead[at:end] += height * np.exp(rng.uniform(*np.log(MOTION))) * noise[at:end]
        at = end
    return lead


def with_faults(rng: np.random.Generator, stream: Stream) -> np.ndarray:
    """The lead with a new fault every 20 s; NaN: electrode off, infinity: restart."""
    lead, hz = stream.lead.copy(), stream.hz
    gain = lambda db: noise_gain(stream, db)  # noqa: E731
    for low in range(0, len(lead), int(20 * hz)):
        part = lead[low : low + int(20 * hz)]
        n = len(part)
        if n < hz:
            continue
        kind, at = rng.random(), rng.integers(n)
        end = at + int(rng.uniform(0.1, 4) * hz)
        if kind < 0.3:
            part += gain(rng.uniform(0, 18)) * jumps(rng, n, hz)
        elif kind < 0.5:
            part += gain(rng.uniform(0, 18)) * coloured(rng, n, hz, 15, min(0.45 * hz, 120))
        elif kind < 0.6:
            hum = np.sin(2 * np.pi * rng.choice([50, 60]) * np.arange(n) / hz)
            part += (rng.uniform(0.02, 0.4) * hum).astype("f4")
        elif kind < 0.7:
            lead[low + at :] += rng.normal() * 2
        elif kind < 0.735:
            part[at:end] = np.nan
        elif kind < 0.76:
            part[at:end] = part[at]
        elif kind < 0.78:
            top = np.median(stream.lead) + 0.4 * np.ptp(stream.lead[low : low + n])
            part[at:end] = np.minimum(part[at:end], top)
        elif kind < 0.8:
            part[at] = np.inf
        elif kind < 0.85:
            part += gain(rng.uniform(-15, 5)) * coloured(rng, n, hz, 0.05, 1.5)
    return lead


def varied(rng: np.random.Generator, stream: Stream, lead: np.ndarray, pace: float) -> Stream:
    """The stream with another lead, mirrored or not, scaled, and at another pace."""
    lead = lead * (rng.choice([-1, 1]) * np.exp(rng.normal() * 0.4))
    return Stream(
        lead.astype("f4"), stream.beats, stream.hz * pace, stream.unknown, stream.odd
    )


# Recordings


def spans(marks: wfdb.Annotation) -> tuple[Spans, Spans]:
    """Where the ventricles flutter, and where the reference could read nothing."""
    flutter, unreadable, begun, lost = [], [], None, None
    for at, symbol, subtype in zip(marks.sample, marks.symbol, marks.subtype, strict=True):
        if symbol == "[":
            begun = at
        elif symbol == "]" and begun is not None:
            flutter.append((begun, at))
            begun = None
        elif symbol == "~" and subtype == -1:
            lost = at if lost is None else lost
        elif symbol == "~" and lost is not None:
            unreadable.append((lost, at))
            lost = None
    return flutter, unreadable


def mitdb(name: str, channel: int) -> Stream:
    """A signal of a record."""
    path = str(DATA / "mitdb" / name)
    marks = wfdb.rdann(path, "atr")
    flutter, unreadable = spans(marks)
    of = lambda kind: np.array(  # noqa: E731
        [at for at, symbol in zip(marks.sample, marks.symbol, strict=True) if symbol in kind]
    )
    beats = of(BEATS)
    beats = beats[~inside(beats, flutter)]
    lead = wfdb.rdrecord(path).p_signal[:, channel].astype("f4")
    return Stream(lead, beats, 360.0, flutter + unreadable, of(ECTOPIC))


def mitdb_streams(name: str) -> Iterator[tuple[str, Stream]]:
    """The signals as they are, then made worse."""
    for channel in (0, 1):
        stream = mitdb(name, channel)
        rng = np.random.default_rng([int(name), channel])
        pace = lambda: rng.uniform(0.8, 1.25)  # noqa: B023, E731
        yield f"clean {channel}", stream
        for k in range(4):
            yield "motion", varied(rng, stream, with_motion(rng, stream), pace() if k % 2 else 1.0)
        for _ in range(2):
            yield "fault", varied(rng, stream, with_faults(rng, stream), pace())


def twice(lead: np.ndarray, beats: np.ndarray, hz: float, known: tuple[float, float]) -> Stream:
    """A short lead heard twice, for the detector to get used to it; beats known in a part."""
    n, (low, high) = len(lead), known
    unknown = [(-1, low), (high, n + low), (n + high, 3 * n)]
    return Stream(np.tile(lead, 2), np.concatenate([beats, beats + n]), hz, unknown)


def worse(rng: np.random.Generator, stream: Stream) -> Stream:
    """A short stream with motion or faults."""
    fault = with_motion if rng.random() < 0.6 else with_faults
    return varied(rng, stream, fault(rng, stream), rng.uniform(0.8, 1.2))


def ludb_streams(name: str) -> Iterator[tuple[str, Stream]]:
    """Each lead of a record, as it is and with a fault."""
    path = str(DATA / "ludb/data" / name)
    record = wfdb.rdrecord(path, physical=False)
    rng = np.random.default_rng(int(name))
    for k, lead in enumerate(LEADS):
        marks = wfdb.rdann(path, lead)
        pairs = zip(marks.sample, marks.symbol, strict=True)
        beats = np.array([at for at, symbol in pairs if symbol == "N"])
        if len(beats) < 2:
            continue
        # The gains of the headers scale each lead by its own range; the numbers are in uV.
        samples = (record.d_signal[:, k] / 1000).astype("f4")
        stream = twice(samples, beats, 500.0, (beats[0] - 75, beats[-1] + 75))
        yield "ludb", stream
        yield "ludb", worse(rng, stream)


def consensus(leads: np.ndarray, hz: float, weights: Path) -> tuple[np.ndarray, list[float]]:
    """Beats of twelve leads by the sum of first opinions, and instants that remain in doubt."""
    n = leads.shape[1]
    rows = []
    for k, lead in enumerate(leads):
        found = played(np.tile(lead, 2), hz, weights)
        found = found[found[:, 0] >= n - 0.3 * hz]
        opinion = np.clip(4 * found[:, 3 + N_SIGHT], -6, 6)
        rows.append(np.stack([found[:, 1] - n, opinion, np.full(len(found), k)], 1))
    rows = np.concatenate(rows)
    beats, doubtful = [], []
    while len(rows):
        at, opinion = rows[:, 0], rows[:, 1]
        support = [np.maximum(opinion[abs(at - t) < 0.06 * hz], 0).sum() for t in at]
        near = abs(at - at[int(np.argmax(support))]) < 0.12 * hz
        best = [max(rows[near & (rows[:, 2] == k), 1], default=-3) for k in range(len(leads))]
        if sum(best) > 12:
            beats.append(round(float(np.median(at[near & (opinion > 0)]))))
        elif sum(best) > -12:
            doubtful.append(float(at[int(np.argmax(support))]))
        rows = rows[~near]
    return np.array(sorted(beats), int), doubtful


def ptbxl_streams(name: str, weights: Path) -> Iterator[tuple[str, Stream]]:
    """Each lead of a record whose leads agree, every other one with a fault."""
    number = int(name[:5])
    path = DATA / f"ptbxl/records500/{number // 1000 * 1000:05}" / name
    leads = np.nan_to_num(wfdb.rdrecord(str(path)).p_signal.T.astype("f4"))
    hz, n = 500.0, leads.shape[1]
    beats, doubtful = consensus(leads, hz, weights)
    if len(doubtful) > 3 or len(beats) < 3:
        return
    rng = np.random.default_rng(number)
    for k, lead in enumerate(leads):
        stream = twice(lead, beats, hz, (0.4 * hz, n - 0.4 * hz))
        for at in doubtful:
            stream.unknown += [(x - 0.25 * hz, x + 0.25 * hz) for x in (at, at + n)]
        yield "ptbxl", stream if k % 2 == number % 2 else worse(rng, stream)


# Rows


def inside(at: np.ndarray, within: Spans) -> np.ndarray:
    """Which of the instants lie in one of the spans."""
    out = np.zeros(len(at), bool)
    for low, high in within:
        out |= (at >= low) & (at < high)
    return out


def nearest(at: np.ndarray, beats: np.ndarray, window: float) -> np.ndarray:
    """Which of the candidates is the one nearest to some beat, within the window."""
    out = np.zeros(len(at), bool)
    if len(at) and len(beats):
        order = np.argsort(at, kind="stable")
        place = np.searchsorted(at[order], beats)
        below, above = order[np.clip(place - 1, 0, len(at) - 1)], order[np.clip(place, 0, len(at) - 1)]
        best = np.where(abs(at[below] - beats) <= abs(at[above] - beats), below, above)
        out[best[abs(at[best] - beats) <= window]] = True
    return out


@dataclass
class Rows:
    """Inputs [row, input], whether a beat, how much it counts, fold, R peak, stream."""

    inputs: np.ndarray
    beat: np.ndarray
    weight: np.ndarray
    fold: np.ndarray
    peak: np.ndarray
    stream: np.ndarray


def rows_of(path: Path, fold: int, weights: Path) -> list[tuple]:
    """The candidates of the streams in a file: inputs, beat, weight, R peak, and what stream it is."""
    out = []
    for k, (kind, stream) in enumerate(pickle.loads(path.read_bytes())):
        found = played(stream.lead, stream.hz, weights)
        at, window = 0.3 * found[:, 0] + 0.7 * found[:, 1], 0.15 * stream.hz
        beat = nearest(at, stream.beats, window)
        counts = np.where(inside(found[:, 0], stream.unknown), 0.0, WEIGHTS[kind.split()[0]])
        counts[nearest(at, stream.odd, window)] *= ODD
        if kind not in ("motion", "fault"):
            counts[beat] *= BEAT
        key = f"{path.stem} {kind}" if kind.startswith("clean") else f"{path.stem} {k}"
        out.append((found[:, 3:].astype("f2"), beat, counts.astype("f4"), found[:, 1], key, fold))
    return out


def write_streams(kind: str, name: str, weights: Path | None, folder: Path) -> None:
    """Makes the streams of a record and leaves them in a file."""
    if kind == "ptbxl":
        streams = ptbxl_streams(name, weights)
    else:
        streams = {"mitdb": mitdb_streams, "ludb": ludb_streams}[kind](name)
    (folder / f"{kind}-{name}").write_bytes(pickle.dumps(list(streams)))


class Recordings:
    """All streams, in files, by record; each record has a fold."""

    def __init__(self, folder: Path, pool: ProcessPoolExecutor) -> None:
        self.folder, self.pool, self.folds = folder, pool, {}

    def add(self, kind: str, names: list[str], weights: list[Path] | None = None) -> None:
        """Adds records; `weights` of the folds say where the beats of unmarked ones are."""
        runs = []
        for k, name in enumerate(names):
            own = weights[k % FOLDS] if weights else None
            self.folds[f"{kind}-{name}"] = k % FOLDS
            runs.append(self.pool.submit(write_streams, kind, name, own, self.folder))
        for run in runs:
            run.result()

    def rows(self, weights: list[Path]) -> tuple[Rows, list[str]]:
        """The candidates of all streams, seen with the weights of a stranger; and the streams' names."""
        files = [self.folder / name for name in self.folds]
        folds = list(self.folds.values())
        parts = list(self.pool.map(rows_of, files, folds, [weights[fold] for fold in folds]))
        parts = [part for record in parts for part in record]
        inputs, beat, weight, peak, keys, fold = zip(*parts, strict=True)
        sizes = [len(part) for part in peak]
        each = lambda values: np.repeat(np.array(values, "i4"), sizes)  # noqa: E731
        join = np.concatenate
        return Rows(
            join(inputs), join(beat), join(weight), each(fold), join(peak), each(range(len(sizes)))
        ), list(keys)


# Networks


def perceptron(inputs: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """Rectified layers to one output."""
    sizes = [inputs, *hidden, 1]
    pairs = zip(sizes, sizes[1:], strict=False)
    return nn.Sequential(*[part for a, b in pairs for part in (nn.Linear(a, b), nn.ReLU())][:-1])


def fit(
    x: np.ndarray, beat: np.ndarray, weight: np.ndarray, hidden: tuple[int, ...], seed: int
) -> nn.Sequential:
    """Adam on the logistic loss, the steps averaged; for inputs as they are."""
    epochs, batch, drop, rate = 8, 4096, 0.05, 4e-3
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    chosen = np.flatnonzero(weight > 0)
    sample = x[chosen[:: max(1, len(chosen) // 100_000)]].astype("f4")
    mean, spread = torch.from_numpy(sample.mean(0)), torch.from_numpy(sample.std(0) + 1e-2)
    network = perceptron(x.shape[1], hidden)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    average = [p.detach().clone() for p in network.parameters()]
    inputs, truth, counts = (torch.from_numpy(part) for part in (x, beat.astype("f4"), weight))
    step, steps = 0, epochs * (len(chosen) // batch)
    for _ in range(epochs):
        rng.shuffle(chosen)
        for k in range(0, len(chosen) - batch + 1, batch):
            i = torch.from_numpy(chosen[k : k + batch])
            rows = (inputs[i].float() - mean) / spread
            rows = rows * (torch.rand_like(rows) > drop)
            said = network(rows)[:, 0]
            loss = functional.binary_cross_entropy_with_logits(said, truth[i], counts[i], reduction="sum")
            optimizer.zero_grad()
            (loss / counts[i].sum()).backward()
            step += 1
            slope = min(1, step / 200) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
            optimizer.param_groups[0]["lr"] = rate * slope + 1e-6
            optimizer.step()
            with torch.no_grad():
                for mean_of, p in zip(average, network.parameters(), strict=True):
                    mean_of.lerp_(p, 0.002 if step > 100 else 0.1)
    with torch.no_grad():
        for p, mean_of in zip(network.parameters(), average, strict=True):
            p.copy_(mean_of)
        first = network[0]
        first.weight /= spread
        first.bias -= first.weight @ mean
    return network


def log_odds(network: nn.Sequential, x: np.ndarray) -> np.ndarray:
    """What a network says of each row."""
    with torch.no_grad():
        parts = np.array_split(x, max(1, len(x) // 65536))
        said = [network(torch.from_numpy(part.astype("f4")))[:, 0].numpy() for part in parts]
    return np.concatenate(said)


def write(path: Path, *networks: nn.Sequential) -> Path:
    """All weights as network.rs takes them."""
    layers = [layer for network in networks for layer in network if isinstance(layer, nn.Linear)]
    values = [part for layer in layers for part in (layer.weight.detach().numpy().T, layer.bias.detach().numpy())]
    np.concatenate([part.ravel() for part in values]).astype("<f4").tofile(path)
    return path


def errors(peaks: np.ndarray, scores: np.ndarray, stream: Stream) -> np.ndarray:
    """Beats found, missed, and marks too many, from 5 min on, about as EC57 counts them."""
    marks: list[float] = []
    for peak in peaks[scores > 0]:
        if not marks or peak >= marks[-1] + 0.18 * stream.hz:
            marks.append(peak)
    at, window, start = np.array(marks), 0.15 * stream.hz, 300 * stream.hz
    paired = nearest(at, stream.beats, window)
    beats = int((stream.beats >= start).sum())
    found = int((paired & (at >= start)).sum())
    extra = int((~paired & (at >= start) & ~inside(at, stream.unknown)).sum())
    return np.array([found, beats - found, extra])


def expect(data: Rows, keys: list[str], score: Callable[[int, np.ndarray], np.ndarray]) -> None:
    """Prints what the networks of the folds, by `score`, come to on the records that they did not learn from."""
    totals = np.zeros((2, 3), int)
    for k, key in enumerate(keys):
        record, kind, *channel = key.split()
        if kind != "clean":
            continue
        i = data.stream == k
        stream = mitdb(record.split("-")[1], int(channel[0]))
        counts = errors(data.peak[i], score(data.fold[i][0], data.inputs[i]), stream)
        totals[int(channel[0])] += counts
        print(key, "found, missed, extra:", *counts)
    for channel, (found, missed, extra) in enumerate(totals):
        se, ppv = 100 * found / (found + missed), 100 * found / (found + extra)
        print(f"channel {channel}, patients not learnt from: Se {se:.2f} +P {ppv:.2f}", flush=True)


def link_folds(folder: Path, names: list[str]) -> None:
    """A folder of links to the records of each fold."""
    for k, name in enumerate(names):
        (folder / str(k % FOLDS)).mkdir(parents=True, exist_ok=True)
        for file in (DATA / "mitdb").glob(f"{name}.*"):
            link = folder / str(k % FOLDS) / file.name
            link.unlink(missing_ok=True)
            link.symlink_to(file.resolve())


def main() -> None:
    """Fit, tell what to expect, write."""
    stems = lambda folder, names: sorted(p.stem for p in (DATA / folder).glob(names))  # noqa: E731
    names = stems("mitdb", "*.hea")
    blank = perceptron(N_SIGHT + N_CONTEXT, SECOND)
    detector()
    with tempfile.TemporaryDirectory() as scratch, ProcessPoolExecutor() as pool:
        scratch = Path(scratch)

        def strangers(weights: Callable[[Rows], np.ndarray], label: str) -> list[nn.Sequential]:
            """A first network for each fold, and one for everything."""
            data, _ = recordings.rows([begin] * FOLDS)
            x, counts = np.ascontiguousarray(data.inputs[:, :N_SIGHT]), weights(data)
            print(f"{len(x)} candidates for {label}", flush=True)
            without = [np.where(data.fold == fold, 0, counts) for fold in range(FOLDS)]
            return [fit(x, data.beat, part, FIRST, k) for k, part in enumerate([*without, counts])]

        def weights_of(networks: list[nn.Sequential]) -> list[Path]:
            return [write(scratch / f"{k}.bin", n, blank) for k, n in enumerate(networks[:FOLDS])]

        recordings = Recordings(scratch, pool)
        begin = write(scratch / "begin.bin", perceptron(N_SIGHT, FIRST), blank)
        recordings.add("mitdb", names)
        recordings.add("ludb", stems("ludb/data", "*.hea"))
        # A first opinion is of one candidate as good as of another.
        plainly = lambda data: np.minimum(data.weight, 1)  # noqa: E731
        firsts = strangers(plainly, "first opinions")
        recordings.add("ptbxl", stems("ptbxl", "records500/*/*_hr.hea"), weights_of(firsts))
        firsts = strangers(plainly, "first opinions, PTB-XL included")

        data, keys = recordings.rows(weights_of(firsts))
        # Of what is plain, a fifth is enough.
        opinion = 4 * data.inputs[:, N_SIGHT].astype("f4")
        plain = np.where(data.beat, opinion, -opinion) > 5
        dropped = plain & (np.random.default_rng(1).random(len(plain)) > 0.2)
        counts = np.where(dropped, 0, np.where(plain, 5 * data.weight, data.weight)).astype("f4")

        def second(fold: int | None) -> nn.Sequential:
            own = counts if fold is None else np.where(data.fold == fold, 0, counts)
            network = fit(data.inputs, data.beat, own, SECOND, FOLDS if fold is None else fold)
            with torch.no_grad():
                network[-1].bias += TRUST
            return network

        seconds = [second(fold) for fold in range(FOLDS)]
        expect(data, keys, lambda fold, x: log_odds(seconds[fold], x))
        if ARGUMENTS.folds:
            link_folds(ARGUMENTS.folds, names)
            for fold in range(FOLDS):
                write(ARGUMENTS.folds / f"{fold}.bin", firsts[fold], seconds[fold])
        write(ARGUMENTS.out, firsts[FOLDS], second(None))


if __name__ == "__main__":
    main()
