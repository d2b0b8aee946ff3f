"""Train the model that names the rhythm of a pulse wave, and write what ships.

It learns from synthetic waves (`ppg_synthesis`) over beats of patients and of rules (`ppg_beats`), and a little from
real ones (`ppg_recorded`). Patients held out of training judge it.
"""

import argparse
import copy
import time
from pathlib import Path

import lightgbm
import numpy as np
import onnxruntime
import torch
from scipy.signal import find_peaks
from sklearn.metrics import roc_auc_score
from torch import nn

from einthoven_training import ppg_beats, ppg_recorded
from einthoven_training.export import write_checked
from einthoven_training.optimise import descend, follow
from einthoven_training.ppg_beats import AF, LABELS, Maker, Sequence, held_out
from einthoven_training.ppg_prepare import BAND_HZ, CLIP, N_SAMPLES, RATE_HZ, prepared
from einthoven_training.ppg_recorded import Recorded
from einthoven_training.ppg_synthesis import Material, make

NAME = "ppg-rhythm-1"
VERSION = "1.0.0"
# How often each label is shown, and how often its beats are made up by rules.
SHARES = (0.21, 0.18, 0.19, 0.08, 0.08, 0.26)
MADE = (0.25, 0.25, 0.3, 0.5, 0.5, 0.2)
LOT = 8192
# Real waves in each batch, and what they weigh.
REAL, REAL_WEIGHT = 0.12, 0.5
# tract and onnxruntime may differ by so much.
PARITY = 1e-4
# From this probability on a segment is usable.
USABLE = 0.5


class Block(nn.Module):
    """A dilated convolution beside a shortcut."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(width, width, 3, 1, dilation, dilation, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)
        )
        self.drop = nn.Dropout(0.05)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, width, step] to the same."""
        return x + self.drop(self.body(x))


class Network(nn.Module):
    """Convolutions find pulses, attention compares them with each other."""

    def __init__(self, stem: int = 16, width: int = 32, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.stem = nn.Sequential(
            nn.Conv1d(2, stem, 9, 2, 4, bias=False),
            nn.BatchNorm1d(stem),
            nn.ReLU(inplace=True),
            nn.Conv1d(stem, width, 7, 2, 3, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(*(Block(width, dilation) for dilation in (1, 2, 4, 8, 16)))
        self.down = nn.Sequential(nn.Conv1d(width, width, 3, 2, 1, bias=False), nn.BatchNorm1d(width))
        self.place = nn.Parameter(torch.randn(1, 63, width) * 0.02)
        self.ask = nn.Linear(width, 3 * width)
        self.say = nn.Linear(width, width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(inplace=True), nn.Linear(2 * width, width))
        self.squeeze = nn.Sequential(
            nn.Dropout(0.15), nn.Linear(5 * width, 48), nn.ReLU(inplace=True), nn.Dropout(0.15)
        )
        self.head = nn.Linear(48, len(LABELS))
        self.usable = nn.Linear(48, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the labels, then of usable: [batch, 7] of [batch, 1, 500]."""
        slope = nn.functional.pad(x[:, :, 1:] - x[:, :, :-1], (1, 0)) * 4.0
        y = self.blocks(self.stem(torch.cat([x, slope], dim=1)))
        z = self.down(y).transpose(1, 2)
        z = z + self.place
        batch, n, width = z.shape
        asked = self.ask(z).reshape(batch, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = asked[0], asked[1], asked[2]
        weights = torch.softmax(query @ key.transpose(2, 3) * (width // self.heads) ** -0.5, dim=3)
        z = z + self.say((weights @ value).transpose(1, 2).reshape(batch, n, width))
        z = z + self.mix(z)
        mean = y.mean(dim=2)
        deviation = torch.sqrt(((y - mean[:, :, None]) ** 2).mean(dim=2) + 1e-4)
        pooled = torch.cat([mean, deviation, y.amax(dim=2), z.mean(dim=1), z.amax(dim=1)], dim=1)
        found = self.squeeze(pooled)
        return torch.cat([self.head(found), self.usable(found)], dim=1)


class Draw:
    """Draws sequences: labels by their shares, then a patient, then a segment."""

    def __init__(self, sequences: list[Sequence], rng: np.random.Generator, made: bool = True):
        self.rng = rng
        self.maker = Maker(rng) if made else None
        self.by_label = [self.by_source(sequences, label) for label in range(len(LABELS))]

    @staticmethod
    def by_source(sequences: list[Sequence], label: int) -> list[list[Sequence]]:
        """Gather the sequences of a label by patient."""
        groups: dict[str, list[Sequence]] = {}
        for sequence in sequences:
            if sequence.label == label:
                groups.setdefault(sequence.source, []).append(sequence)
        return [groups[source] for source in sorted(groups)]

    def draw(self, label: int) -> Sequence:
        """Draw one."""
        if self.maker and self.rng.random() < MADE[label]:
            return self.maker.sequence(label)
        groups = self.by_label[label]
        # Between one draw per patient and one per segment.
        sizes = np.array([len(group) for group in groups]) ** 0.5
        group = groups[int(self.rng.choice(len(groups), p=sizes / sizes.sum()))]
        return group[int(self.rng.integers(len(group)))]


def lot(k: int, sequences: list[Sequence], material: Material, work: Path) -> Path:
    """Synthesise lot `k` of training waves, once."""
    kept = work / f"lot-{k}.npz"
    if not kept.exists():
        rng = np.random.default_rng([2022, k])
        draw = Draw(sequences, rng)
        labels = rng.choice(len(LABELS), LOT, p=SHARES)
        x, usable = make([draw.draw(label) for label in labels], rng, material)
        part = kept.with_suffix(".part.npz")
        np.savez(part, x=x.astype(np.float16), label=labels.astype(np.int8), usable=usable.astype(np.float16))
        part.rename(kept)
    return kept


def validation(sequences: list[Sequence], material: Material, work: Path, each: int = 700) -> dict[str, np.ndarray]:
    """Synthesise waves over beats of held-out patients, once; as many of each label."""
    kept = work / "validation.npz"
    if not kept.exists():
        rng = np.random.default_rng(77)
        draw = Draw(sequences, rng, made=False)
        labels = np.repeat(np.arange(len(LABELS)), each)
        x, usable = make([draw.draw(label) for label in labels], rng, material)
        np.savez(kept, x=x.astype(np.float16), label=labels, usable=usable)
    return dict(np.load(kept))


def augment(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change what does not change a rhythm: gain, noise, a little time, a lost moment."""
    n = len(x)
    gain = torch.from_numpy(np.exp(rng.normal(0, 0.1, n))).float()[:, None, None]
    noise = torch.from_numpy(np.where(rng.random(n) < 0.3, rng.exponential(0.05, n), 0)).float()[:, None, None]
    x = x * gain + noise * torch.randn_like(x)
    x = torch.roll(x, int(rng.integers(-12, 13)), dims=2)
    for k in np.flatnonzero(rng.random(n) < 0.08):
        at, length = int(rng.integers(N_SAMPLES)), int(rng.integers(10, 60))
        x[k, :, at : at + length] = 0
    return torch.clamp(x, -CLIP, CLIP)


def fit(lots: list[Path], real: Recorded, seconds: float, rate: float, start: Path | None, log: str) -> Network:
    """Train for `seconds`, however many passes over the lots that is, and average the weights."""
    rng = np.random.default_rng(4)
    torch.manual_seed(4)
    network = Network()
    if start:
        network.load_state_dict(torch.load(start))
    average = copy.deepcopy(network)
    batch = 128
    waves = [dict(np.load(path)) for path in lots]
    x = np.concatenate([of["x"] for of in waves])
    label = np.concatenate([of["label"] for of in waves]).astype(np.int64)
    usable = np.concatenate([of["usable"] for of in waves]).astype(np.float32)
    shown = np.flatnonzero(~real.held_out & ((real.label >= 0) | (real.usable != 0.5)))
    odds = np.ones(len(shown))
    for of in range(-1, len(LABELS)):
        at = real.label[shown] == of
        odds[at] = (SHARES[of] if of >= 0 else 0.1) / max(1, at.sum())
    odds /= odds.sum()
    n_real = int(REAL * batch)
    began = time.time()
    per_pass = len(x) // batch
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    step, total = 0, 0.0
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: shape_of_rate(step, (time.time() - began) / seconds)
    )
    order = rng.permutation(len(x))
    network.train()
    while time.time() - began < seconds:
        at = order[step % per_pass * batch : step % per_pass * batch + batch]
        if step % per_pass == per_pass - 1:
            order = rng.permutation(len(x))
        some = rng.choice(shown, n_real, p=odds)
        wave = torch.from_numpy(np.concatenate([x[at], real.x[some]]).astype(np.float32))[:, None]
        truth = torch.from_numpy(np.concatenate([label[at], np.maximum(real.label[some], 0)]))
        good = torch.from_numpy(np.concatenate([usable[at], real.usable[some]]).astype(np.float32))
        weight = torch.ones(len(wave))
        weight[batch:] = REAL_WEIGHT
        told = weight.clone()
        told[batch:] *= torch.from_numpy((real.label[some] >= 0).astype(np.float32))
        judged = weight.clone()
        judged[batch:] *= torch.from_numpy((real.usable[some] != 0.5).astype(np.float32))
        # Of a wave that is destroyed little can be learnt.
        told = told * (0.3 + 0.7 * good)
        logits = network(augment(wave, rng))
        named = nn.functional.cross_entropy(logits[:, :6], truth, reduction="none", label_smoothing=0.02)
        fibrillates = torch.logsumexp(logits[:, :5], dim=1) - logits[:, 5]
        binary = nn.functional.softplus(torch.where(truth == AF, fibrillates, -fibrillates))
        usable_loss = nn.functional.binary_cross_entropy_with_logits(
            logits[:, 6], usable_target(good), reduction="none"
        )
        loss = ((named + 0.7 * binary) * told).sum() / told.sum() + 0.3 * (usable_loss * judged).sum() / judged.sum()
        descend(loss, network, optimiser, schedule, longest=2.0)
        follow(average, network, 0.998, step)
        total += float(loss.detach())
        step += 1
        if step % 500 == 0:
            print(f"{log} step {step}: loss {total / 500:.4f}, {time.time() - began:.0f} s", flush=True)
            total = 0.0
    print(f"{log}: {step} steps, {step / per_pass:.1f} passes over {len(x)} waves", flush=True)
    return average.eval()


def shape_of_rate(step: int, share: float) -> float:
    """Warm up over 200 steps, and go down half a cosine to nothing as time passes."""
    return min(1.0, (step + 1) / 200) * (0.5 + 0.5 * np.cos(np.pi * min(1.0, share)) + 0.002)


def usable_target(share: torch.Tensor) -> torch.Tensor:
    """Turn the share of recognisable seconds into whether a rhythm may be told: from 6 of 10 on yes, below 4 no."""
    return torch.clamp((share - 0.4) / 0.3, 0.0, 1.0)


@torch.no_grad()
def logits_of(network: nn.Module, x: np.ndarray) -> np.ndarray:
    """Logits of prepared waves, [wave, 7]."""
    parts = [network(torch.from_numpy(x[k : k + 256].astype(np.float32))[:, None]) for k in range(0, len(x), 256)]
    return torch.cat(parts).numpy()


def probabilities(logits: np.ndarray, temperature: float, bias: np.ndarray) -> np.ndarray:
    """Softmax of the calibrated logits of the six labels."""
    z = logits[:, :6] / temperature + bias
    odds = np.exp(z - z.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def auc_table(label: np.ndarray, af: np.ndarray) -> str:
    """Write the AUC of fibrillation against the rest and against each label in a line."""
    out = []
    for name, against in [("rest", label != AF), *((LABELS[k], label == k) for k in range(5))]:
        chosen = against | (label == AF)
        if against.sum() > 4 and (label == AF).sum() > 4:
            out.append(f"{name} {roc_auc_score(label[chosen] == AF, af[chosen]):.3f} ({against.sum()})")
    return ", ".join(out)


def interval_features(x: np.ndarray) -> np.ndarray:
    """Numbers on the intervals of pulses alone, of prepared waves: what a model without the wave would have."""
    out = np.full((len(x), 14), np.nan)
    for k, wave in enumerate(x.astype(np.float64)):
        peaks, _ = find_peaks(wave, distance=14, prominence=0.7)
        pp = np.diff(peaks) / RATE_HZ
        if len(pp) < 4:
            continue
        change = np.abs(np.diff(pp))
        relative = pp / np.median(pp)
        share = np.histogram(relative, np.linspace(0.4, 1.8, 15))[0] / len(pp)
        share = share[share > 0]
        out[k] = [
            len(pp), pp.mean(), pp.std() / pp.mean(), np.sqrt((change**2).mean()) / pp.mean(), np.median(change),
            (change > 0.05).mean(), (change > 0.1).mean(), relative.min(), relative.max(),
            -(share * np.log(share)).sum(),
            np.quantile(relative, 0.75) - np.quantile(relative, 0.25), (np.abs(relative - 1) < 0.08).mean(),
            np.corrcoef(pp[1:], pp[:-1])[0, 1] if pp[1:].std() > 0 and pp[:-1].std() > 0 else 0.0, change.max(),
        ]  # fmt: skip
    return out


def baseline(lots: list[Path], known: dict[str, np.ndarray], real: Recorded) -> None:
    """Print what boosted trees on intervals alone reach."""
    of = [dict(np.load(path)) for path in lots[:3]]
    x, label = np.concatenate([one["x"] for one in of]), np.concatenate([one["label"] for one in of])
    trees = lightgbm.LGBMClassifier(n_estimators=200, learning_rate=0.05, num_leaves=15, n_jobs=1, verbose=-1)
    trees.fit(interval_features(x), label == AF)
    print(
        "intervals alone, synthetic:",
        auc_table(known["label"], trees.predict_proba(interval_features(known["x"]))[:, 1]),
    )
    chosen = real.held_out & (real.label >= 0)
    says = trees.predict_proba(interval_features(real.x[chosen]))[:, 1]
    print("intervals alone, real held out:", auc_table(real.label[chosen], says))


def calibrate(logits: np.ndarray, label: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Fit one temperature; the bias stays zero, as shares of labels elsewhere are unknown."""
    best, at = np.inf, 1.0
    for temperature in np.exp(np.linspace(-0.7, 0.9, 81)):
        p = probabilities(logits, temperature, np.zeros(6))
        loss = -(weight * np.log(p[np.arange(len(label)), label] + 1e-12)).sum()
        if loss < best:
            best, at = loss, float(temperature)
    return at, np.zeros(6)


def calibration_error(p: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> float:
    """Expected calibration error of a probability in ten bins."""
    bins = np.minimum((p * 10).astype(int), 9)
    parts = [abs((weight * (p - truth))[bins == b].sum()) for b in range(10)]
    return float(sum(parts) / weight.sum())


def report(network: nn.Module, known: dict[str, np.ndarray], real: Recorded, temperature: float) -> None:
    """Print how good it is, on waves of held-out patients."""
    logits = logits_of(network, known["x"])
    p = probabilities(logits, temperature, np.zeros(6))
    says_usable = logits[:, 6] > 0
    print("synthetic:", auc_table(known["label"], p[:, AF]))
    print(
        f"synthetic, usable by the model ({says_usable.mean():.3f}):",
        auc_table(known["label"][says_usable], p[says_usable, AF]),
    )
    good = known["usable"] > 0.6
    print("usable, AUC:", round(float(roc_auc_score(good, logits[:, 6])), 3))
    print("right label, usable:", round(float((p[says_usable].argmax(1) == known["label"][says_usable]).mean()), 3))
    for name, chosen in (("held out", real.held_out), ("all", np.ones(len(real.label), dtype=bool))):
        chosen = chosen & (real.label >= 0)
        logits = logits_of(network, real.x[chosen])
        af = probabilities(logits, temperature, np.zeros(6))[:, AF]
        label = real.label[chosen]
        print(f"real {name}:", auc_table(label, af))
        use = logits[:, 6] > 0
        print(f"real {name}, usable by the model ({use.mean():.3f}):", auc_table(label[use], af[use]))


def write(
    network: Network, temperature: float, threshold: float, training_data: str, folder: Path, x: np.ndarray
) -> Path:
    """Write the ONNX file and its manifest, after a check that onnxruntime says the same as PyTorch."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.onnx"
    network = network.eval()
    sample = torch.from_numpy(x.astype(np.float32))[None, None]
    digest = write_checked(network, sample, path, ("pulse", "logits"), PARITY)
    names = ", ".join(f'"{name}"' for name in LABELS)
    path.with_suffix(".toml").write_text(f"""\
# Made by `python -m einthoven_training.ppg`; figures in docs/models.md.
name = "{NAME}"
version = "{VERSION}"
kind = "pulse-rhythm"
licence = "ODC-BY 1.0 and MIT"
training_data = "{training_data}"

[onnx]
file = "{path.name}"
sha256 = "{digest}"

# What the model sees: infer/src/pulse_rhythm/input.rs.
[input]
layout = "[1, 1, sample]"
rate_hz = {float(RATE_HZ)}
n_samples = {N_SAMPLES}
band_hz = [{BAND_HZ[0]}, {BAND_HZ[1]}]
clip = {CLIP}

[output]
labels = [{names}]
temperature = {temperature:.4f}
bias = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
# Below this a segment tells nothing.
usable = {USABLE}
# Atrial fibrillation begins at or above the one and ends below the other.
enter = {threshold:.3f}
leave = {max(0.05, threshold - 0.15):.3f}
""")
    return path


def write_golden(path: Path, folder: Path) -> None:
    """Write the parity fixtures.

    `.input.f32` is a seeded wave of 10 s at 100 Hz; `.prepared.f32` what Python prepares of it; `.output.f32` what
    onnxruntime says of that.
    """
    rng = np.random.default_rng(1905)
    t = np.arange(1000) / 100
    beats = np.cumsum(rng.uniform(0.5, 1.1, 20))
    wave = 512 + sum(90 * np.exp(-0.5 * ((t - at) / np.where(t > at, 0.2, 0.08)) ** 2) for at in beats)
    wave = (wave + 40 * np.sin(2 * np.pi * 0.25 * t) + rng.normal(0, 1.5, len(t))).astype("<f4")
    x = prepared(wave[None], 100)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = session.run(None, {"pulse": x[:, None]})[0]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.input.f32").write_bytes(wave.tobytes())
    (folder / f"{NAME}.prepared.f32").write_bytes(x.astype("<f4").tobytes())
    (folder / f"{NAME}.output.f32").write_bytes(logits.astype("<f4").tobytes())


def threshold_of(p: np.ndarray, label: np.ndarray, weight: np.ndarray) -> float:
    """Find from which probability on 4 of 100 segments of sinus, PVC or PAC are called AF; at least 0.3."""
    needed = [np.quantile(p[(label == k) & (weight > 0)], 0.96) for k in range(3)]
    return float(np.clip(max(needed), 0.3, 0.9))


def main() -> None:
    """Beats, waves, network, figures, files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="holds vitaldb-arrdb, mitdb, cinc2015 and cinc2017")
    parser.add_argument("--einthoven", type=Path, default=Path("target/release/einthoven"))
    parser.add_argument("--program", type=Path, default=Path("target/release/examples/rhythm_input"))
    parser.add_argument("--models", type=Path, default=Path("infer/models"), help="where rhythm-1 is")
    parser.add_argument("--work", type=Path, default=Path("training-ppg"), help="keeps beats, waves and networks")
    parser.add_argument("--out", type=Path, required=True, help="where the model goes")
    parser.add_argument("--golden", type=Path, help="where the parity fixtures go")
    parser.add_argument("--lots", type=int, default=16, help=f"of {LOT} synthetic waves")
    parser.add_argument("--first", type=int, default=0, help="the first lot")
    parser.add_argument("--minutes", type=float, default=30, help="of training")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--waves-only", action="store_true", help="synthesise, and stop")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    kept = args.work / "sequences.npy"
    if not kept.exists():
        found = ppg_beats.recorded(args.data / "vitaldb-arrdb", args.data / "mitdb", args.data / "cinc2017")
        np.save(kept, np.array(found, dtype=object), allow_pickle=True)
    sequences = list(np.load(kept, allow_pickle=True))
    kept = args.work / "recorded.npz"
    if not kept.exists():
        folder = args.data / "cinc2015"
        ppg_recorded.annotate(args.einthoven, folder, args.work / "annotations")
        af = ppg_recorded.fibrillation(args.program, folder, args.models / "rhythm-1.onnx", args.work / "cinc2015.rows")
        ppg_recorded.read(folder, args.work / "annotations", af).write(kept)
    real = Recorded.read(kept)
    material = Material(real.shapes, real.durations, real.noise)
    shown = [sequence for sequence in sequences if not held_out(sequence.source)]
    known = validation([sequence for sequence in sequences if held_out(sequence.source)], material, args.work)
    lots = [lot(k, shown, material, args.work) for k in range(args.first, args.first + args.lots)]
    if args.waves_only:
        return
    baseline(lots, known, real)
    network = fit(lots, real, args.minutes * 60, args.rate, args.start, NAME)
    torch.save(network.state_dict(), args.work / "network.pt")
    finish(network, known, real, args)


def finish(network: Network, known: dict[str, np.ndarray], real: Recorded, args: argparse.Namespace) -> None:
    """Calibrate, choose the threshold, report, write."""
    logits = logits_of(network, known["x"])
    weight = np.array(SHARES)[known["label"]] * (logits[:, 6] > 0)
    temperature, _ = calibrate(logits, known["label"], weight)
    p = probabilities(logits, temperature, np.zeros(6))[:, AF]
    threshold = threshold_of(p, known["label"], weight)
    report(network, known, real, temperature)
    error = calibration_error(p, known["label"] == AF, weight)
    called = p >= threshold
    told = weight > 0
    rates = [f"{name} {1 - called[told & (known['label'] == k)].mean():.3f}" for k, name in enumerate(LABELS[:5])]
    sensitivity = called[told & (known["label"] == AF)].mean()
    print(f"temperature {temperature:.3f}, calibration error {error:.4f}")
    print(f"threshold {threshold:.3f}: Se {sensitivity:.3f}, Sp {rates}")
    said = "VitalDB arrhythmia annotations (MIT), MIT-BIH, Challenges 2015 and 2017 (ODC-BY 1.0); synthetic waves"
    path = write(network, temperature, threshold, said, args.out, known["x"][0])
    if args.golden:
        write_golden(path, args.golden)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
