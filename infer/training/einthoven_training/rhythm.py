"""Train the rhythm model on what the service's own chain makes of Challenge 2017, and write what ships.

`rhythm_input` (an example of the root package) plays each recording through the chain and writes the tensors that the
model sees; there is no signal processing here.
"""

import argparse
import copy
import csv
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import onnxruntime
import torch
from torch import nn

from einthoven_training.export import write_checked
from einthoven_training.optimise import descend

LABELS = ("N", "A", "O", "~")
N_SAMPLES = 3840
N_CHANNELS = 8
STEP = 8
N_STEPS = N_SAMPLES // STEP
N_FEATURES = 46
N_INPUT = N_SAMPLES + N_CHANNELS * N_STEPS + 2 * N_FEATURES
N_FOLDS = 5
RATE_HZ = 125.0
NAME = "rhythm-1"
VERSION = "1.0.0"
# tract and onnxruntime may differ by so much.
PARITY = 1e-4
# Stands for an unknown number in the trees.
UNKNOWN = -99.0
# So many trees are evaluated together; a divisor of their number.
TOGETHER = 8
# Where atrial fibrillation begins and ends.
ENTER = 0.5
LEAVE = 0.35

ROW = np.dtype([("record", "S16"), ("start", "<f8"), ("end", "<f8"), ("last", "<f8"), ("x", "<f4", N_INPUT)])


@dataclass
class Stretches:
    """Stretches of recordings, [stretch, N_INPUT], each with its record."""

    x: np.ndarray
    record: np.ndarray
    start: np.ndarray
    end: np.ndarray
    last: np.ndarray

    def __len__(self) -> int:
        """Count the stretches."""
        return len(self.x)

    @property
    def seconds(self) -> np.ndarray:
        """How long each stretch is."""
        return self.end - self.start

    @property
    def features(self) -> np.ndarray:
        """The numbers, NaN where unknown."""
        value, known = np.split(self.x[:, -2 * N_FEATURES :].astype(np.float32), 2, axis=1)
        return np.where(known > 0, value, np.nan)


def export(program: Path, folder: Path, kept: Path) -> Stretches:
    """Run `rhythm_input` on a folder, once."""
    if not kept.exists():
        with kept.with_suffix(".part").open("wb") as out:
            subprocess.run([str(program), str(folder)], check=True, stdout=out)
        kept.with_suffix(".part").rename(kept)
    rows = np.memmap(kept, dtype=ROW, mode="r")
    record = np.char.decode(np.array(rows["record"]))
    # Halves are exact enough for samples of a typical peak of 1; the numbers keep their scale below 65504.
    x = np.clip(rows["x"], -60000, 60000).astype(np.float16)
    return Stretches(x, record, *(np.array(rows[name]) for name in ("start", "end", "last")))


def references(folder: Path) -> dict[str, int]:
    """Read the labels of Challenge 2017."""
    with (folder / "REFERENCE.csv").open(newline="") as table:
        return {row["record"]: LABELS.index(row["rhythm"]) for row in csv.DictReader(table)}


def folds_of(reference: dict[str, int], seed: int = 2017) -> dict[str, int]:
    """Give each record a fold, each label spread evenly."""
    rng = np.random.default_rng(seed)
    fold = {}
    for label in range(len(LABELS)):
        names = sorted(name for name, of in reference.items() if of == label)
        for k, at in enumerate(rng.permutation(len(names))):
            fold[names[at]] = k % N_FOLDS
    return fold


class Block(nn.Module):
    """Two convolutions beside a shortcut, at half the rate."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv1d(n_in, n_out, 5, 2, 2, bias=False), nn.BatchNorm1d(n_out), nn.ReLU(inplace=True)
        )
        self.second = nn.Sequential(nn.Conv1d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm1d(n_out))
        self.drop = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, n_in, step] to [batch, n_out, step / 2]."""
        y = self.first(x)
        return torch.relu(self.second(self.drop(y)) + y)


class Network(nn.Module):
    """Wave and steps through convolutions, numbers through a small network, then both together."""

    def __init__(self, mean: np.ndarray, deviation: np.ndarray, widths: tuple[int, ...] = (16, 16, 16, 32, 48)):
        super().__init__()
        stem, after, *rest = widths
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", 1 / torch.tensor(deviation, dtype=torch.float32))
        self.stem = nn.Sequential(
            nn.Conv1d(1, stem, 16, 4, 6, bias=False),
            nn.BatchNorm1d(stem),
            nn.ReLU(inplace=True),
            nn.Conv1d(stem, after, 8, 2, 3, bias=False),
            nn.BatchNorm1d(after),
            nn.ReLU(inplace=True),
        )
        blocks, n = [], after + N_CHANNELS
        for width in rest:
            blocks.append(Block(n, width))
            n = width
        self.blocks = nn.Sequential(*blocks)
        self.squeeze = nn.Sequential(nn.Linear(2 * n, 48), nn.ReLU(inplace=True), nn.Dropout(0.3))
        self.numbers = nn.Sequential(
            nn.Linear(2 * N_FEATURES, 64),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
            nn.Linear(64, 32),
            nn.ReLU(inplace=True),
        )
        self.wave_head = nn.Linear(48, 4)
        self.number_head = nn.Linear(32, 4)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(80, 4))

    def parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the wave and what the numbers say, [batch, 48] and [batch, 32], of [batch, 1, N_INPUT]."""
        wave = x[:, :, :N_SAMPLES]
        steps = x[:, :, N_SAMPLES : N_SAMPLES + N_CHANNELS * N_STEPS].reshape(x.shape[0], N_CHANNELS, N_STEPS)
        value = x[:, 0, -2 * N_FEATURES : -N_FEATURES]
        known = x[:, 0, -N_FEATURES:]
        z = torch.clamp((value - self.mean) * self.scale, -4, 4) * known
        y = self.blocks(torch.cat([self.stem(wave), steps], dim=1))
        pooled = torch.cat([y.mean(dim=2), y.amax(dim=2)], dim=1)
        return self.squeeze(pooled), self.numbers(torch.cat([z, known], dim=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of N, A, O, ~: the mean of what wave, numbers and both say."""
        a, b = self.parts(x)
        return self.head(torch.cat([a, b], dim=1)) + 0.25 * (self.wave_head(a) + self.number_head(b))

    def heads(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The logits that are trained: the answer, and what either part says alone."""
        a, b = self.parts(x)
        wave, number = self.wave_head(a), self.number_head(b)
        return [self.head(torch.cat([a, b], dim=1)) + 0.25 * (wave + number), wave, number]


def augment(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change what does not change a rhythm: sign, gain, noise, wander, lost seconds, lost facts."""
    n = len(x)
    wave = x[:, 0, :N_SAMPLES]
    there = (wave != 0).float()
    sign = torch.from_numpy(np.where(rng.random(n) < 0.3, -1.0, 1.0) * np.exp(rng.normal(0, 0.2, n))).float()
    t = torch.arange(N_SAMPLES) / RATE_HZ
    noise = (
        torch.randn(n, N_SAMPLES)
        * torch.from_numpy(np.where(rng.random(n) < 0.4, rng.exponential(0.05, n), 0))[:, None].float()
    )
    hz = torch.from_numpy(rng.uniform(0.1, 0.8, n)).float()
    size = torch.from_numpy(np.where(rng.random(n) < 0.3, rng.exponential(0.15, n), 0)).float()
    wander = size[:, None] * torch.sin(2 * np.pi * (hz[:, None] * t + torch.rand(n)[:, None]))
    wave = (wave * sign[:, None] + noise + wander) * there
    shift = int(rng.integers(0, STEP))
    wave = torch.roll(wave, shift, dims=1)
    for k in np.flatnonzero(rng.random(n) < 0.3):
        length = int(rng.uniform(0.5, 4) * RATE_HZ)
        at = int(rng.integers(0, N_SAMPLES - length))
        wave[k, at : at + length] = 0
    x = x.clone()
    x[:, 0, :N_SAMPLES] = wave
    lost = torch.from_numpy(rng.random(n) < 0.1)
    x[lost, :, N_SAMPLES : N_SAMPLES + N_CHANNELS * N_STEPS] = 0
    lost = torch.from_numpy(rng.random(n) < 0.1)
    x[lost, :, -2 * N_FEATURES :] = 0
    dropped = torch.from_numpy((rng.random((n, N_FEATURES)) < 0.1).astype(np.float32))
    x[:, 0, -N_FEATURES:] *= 1 - dropped
    return x


def fit(
    data: Stretches,
    label: np.ndarray,
    chosen: np.ndarray,
    epochs: int,
    seed: int,
    log: str = "",
) -> Network:
    """Train on the stretches of the chosen records; the weights are averaged over the last epochs.

    `label` is per stretch.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    features = data.features[chosen]
    with np.errstate(all="ignore"):
        low, high = np.nanpercentile(features, [1, 99], axis=0)
        clipped = np.clip(features, low, high)
        mean, deviation = np.nanmean(clipped, axis=0), np.nanstd(clipped, axis=0)
    network = Network(np.nan_to_num(mean), np.maximum(np.nan_to_num(deviation, nan=1.0), 1e-3))
    average = copy.deepcopy(network)
    by_record: dict[str, list[int]] = {}
    for k in np.flatnonzero(chosen):
        by_record.setdefault(data.record[k], []).append(int(k))
    groups = list(by_record.values())
    batch = 32
    steps = epochs * (len(groups) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps, pct_start=0.2)
    weight = torch.tensor([1.0, 1.2, 1.0, 1.5])
    began, step = time.time(), 0
    for epoch in range(epochs):
        network.train()
        total = 0.0
        order = rng.permutation(len(groups))
        for b in range(len(groups) // batch):
            rows = []
            for g in order[b * batch : (b + 1) * batch]:
                group = groups[g]
                rows.append(group[-1] if rng.random() < 0.65 else group[int(rng.integers(len(group)))])
            x = torch.from_numpy(data.x[rows].astype(np.float32))[:, None]
            target = torch.nn.functional.one_hot(torch.from_numpy(label[rows]), 4).float() * 0.94 + 0.015
            x = augment(x, rng)
            if rng.random() < 0.3:
                mix = float(rng.beta(0.3, 0.3))
                other = torch.from_numpy(rng.permutation(len(rows)))
                x, target = mix * x + (1 - mix) * x[other], mix * target + (1 - mix) * target[other]
            target = target * weight
            target = target / target.sum(dim=1).mean()
            losses = [-(target * torch.log_softmax(logits, dim=1)).sum(dim=1).mean() for logits in network.heads(x)]
            loss = losses[0] + 0.4 * losses[1] + 0.2 * losses[2]
            descend(loss, network, optimiser, schedule, longest=2.0)
            step += 1
            keep = min(0.995, step / (step + 20))
            with torch.no_grad():
                for a, p in zip(average.parameters(), network.parameters(), strict=True):
                    a.lerp_(p, 1 - keep)
                for a, p in zip(average.buffers(), network.buffers(), strict=True):
                    a.copy_(p) if a.dtype == torch.long else a.lerp_(p, 1 - keep)
            total += float(losses[0].detach())
        if log and (epoch % 5 == 4 or epoch == 0):
            print(
                f"{log} epoch {epoch + 1}: loss {total * batch / len(groups):.4f}, {time.time() - began:.0f} s",
                flush=True,
            )
    return average.eval()


@torch.no_grad()
def logits_of(network: nn.Module, x: np.ndarray) -> np.ndarray:
    """Logits of stretches."""
    parts = [network(torch.from_numpy(x[k : k + 64].astype(np.float32))[:, None]) for k in range(0, len(x), 64)]
    return torch.cat(parts).numpy()


def f1_of(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """F1 of each label."""
    matrix = confusion(truth, said)
    return 2 * np.diag(matrix) / np.maximum(matrix.sum(0) + matrix.sum(1), 1)


def confusion(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """How often which label was called which, [reference, model]."""
    matrix = np.zeros((4, 4), dtype=int)
    np.add.at(matrix, (truth, said), 1)
    return matrix


class Trees(nn.Module):
    """Boosted trees of LightGBM as tensors: which conditions hold, which leaf that leads to, what it adds."""

    def __init__(self, booster: lightgbm.Booster):
        super().__init__()
        trees = [info["tree_structure"] for info in booster.dump_model()["tree_info"]]
        n_leaves = max(sum(1 for _ in leaves_of(tree, [])) for tree in trees)
        shape = (len(trees), n_leaves - 1)
        feature, threshold = np.zeros(shape, dtype=np.int64), np.full(shape, -np.inf, dtype=np.float32)
        path = np.zeros((len(trees), n_leaves - 1, n_leaves), dtype=np.float32)
        # What no sum of conditions is: a leaf that a smaller tree lacks.
        wanted = np.full((len(trees), n_leaves), 1000.0, dtype=np.float32)
        value = np.zeros((len(trees), n_leaves, len(LABELS)), dtype=np.float32)
        for t, tree in enumerate(trees):
            for leaf, (adds, above) in enumerate(leaves_of(tree, [])):
                wanted[t, leaf] = sum(left for _, left in above)
                value[t, leaf, t % len(LABELS)] = adds
                for node, left in above:
                    at = node["split_index"]
                    feature[t, at] = node["split_feature"]
                    threshold[t, at] = below(node["threshold"])
                    path[t, at, leaf] = 1.0 if left else -1.0
        # Several trees at a time, the blocks of a matrix: small products are slow one by one.
        n_trees, n_nodes, n_leaves = path.shape
        blocks = np.zeros((n_trees // TOGETHER, TOGETHER, n_nodes, TOGETHER, n_leaves), dtype=np.float32)
        for t in range(TOGETHER):
            blocks[:, t, :, t] = path[t::TOGETHER]
        order = np.arange(n_trees).reshape(-1, TOGETHER)
        self.register_buffer("feature", torch.from_numpy(feature[order].ravel()))
        self.register_buffer("threshold", torch.from_numpy(threshold[order].ravel()))
        self.register_buffer("path", torch.from_numpy(blocks.reshape(len(order), TOGETHER * n_nodes, -1)))
        self.register_buffer("wanted", torch.from_numpy(wanted.reshape(len(order), -1)))
        self.register_buffer("value", torch.from_numpy(value.reshape(-1, len(LABELS))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of [1, 1, N_INPUT]."""
        value, known = x[:, 0, -2 * N_FEATURES : -N_FEATURES], x[:, 0, -N_FEATURES:]
        numbers = (value + (known - 1) * -UNKNOWN)[0]
        holds = (numbers[self.feature] <= self.threshold).float()
        n_groups, n_nodes, n_leaves = self.path.shape
        met = torch.matmul(holds.reshape(n_groups, 1, n_nodes), self.path).reshape(n_groups, n_leaves)
        there = (torch.abs(met - self.wanted) < 0.5).float()
        return torch.matmul(there.reshape(1, -1), self.value)


def leaves_of(node: dict, above: list) -> Iterator[tuple[float, list]]:
    """Each leaf below a node, and the nodes above it with whether it is to their left."""
    if "leaf_value" in node:
        yield node["leaf_value"], above
    else:
        yield from leaves_of(node["left_child"], [*above, (node, True)])
        yield from leaves_of(node["right_child"], [*above, (node, False)])


def below(threshold: float) -> np.float32:
    """The largest float32 that is not above a threshold: numbers are float32, so that nothing changes."""
    rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded


class Fused(nn.Module):
    """What ships: a weighted sum of the logits of the network and of the trees."""

    def __init__(self, network: Network, trees: Trees, stack: np.ndarray):
        super().__init__()
        self.network, self.trees = network, trees
        self.of_network, self.of_trees = float(stack[0]), float(stack[1])
        self.register_buffer("bias", torch.tensor(stack[2:], dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of [1, 1, N_INPUT]."""
        return self.of_network * self.network(x) + self.of_trees * self.trees(x) + self.bias


def boost(data: Stretches, label: np.ndarray, chosen: np.ndarray, seed: int) -> lightgbm.Booster:
    """Fit trees to the numbers of the stretches of the chosen records."""
    model = lightgbm.LGBMClassifier(
        n_estimators=40,
        learning_rate=0.16,
        num_leaves=8,
        min_child_samples=20,
        colsample_bytree=0.3,
        subsample=0.6,
        subsample_freq=1,
        reg_lambda=5.0,
        random_state=seed,
        n_jobs=1,
        verbose=-1,
    )
    weight = np.where(data.last[chosen] > 0, 1.0, 0.25)
    model.fit(np.nan_to_num(data.features[chosen], nan=UNKNOWN), label[chosen], sample_weight=weight)
    return model.booster_


def trees_say(booster: lightgbm.Booster, data: Stretches, chosen: np.ndarray) -> np.ndarray:
    """Logits of stretches."""
    return booster.predict(np.nan_to_num(data.features[chosen], nan=UNKNOWN), raw_score=True)


def fit_stack(network: np.ndarray, trees: np.ndarray, label: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fit the two weights and the bias of each label, by likelihood, on logits of records new to both."""
    a, b, y = (torch.from_numpy(np.asarray(part)) for part in (network, trees, label))
    a, b, w = a.double(), b.double(), torch.from_numpy(weight)
    at = torch.tensor([0.5, 0.5, 0, 0, 0, 0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([at], max_iter=100)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = at[0] * a + at[1] * b + at[2:]
        value = (w * nn.functional.cross_entropy(logits, y, reduction="none")).sum() / w.sum() + 1e-4 * (at**2).sum()
        value.backward()
        return value

    optimiser.step(loss)
    return at.detach().numpy()


def mix(stack: np.ndarray, network: np.ndarray, trees: np.ndarray) -> np.ndarray:
    """Logits of both together."""
    return stack[0] * network + stack[1] * trees + stack[2:]


def write(fused: Fused, training_data: str, folder: Path, sample: np.ndarray) -> Path:
    """Write the ONNX file and its manifest, after a check that onnxruntime says the same as PyTorch."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.onnx"
    fused = fused.eval()
    x = torch.from_numpy(sample.astype(np.float32))[None, None]
    digest = write_checked(fused, x, path, ("stretch", "logits"), PARITY)
    names = ",\n    ".join(f'"{name}"' for name in numbers_of())
    path.with_suffix(".toml").write_text(f"""\
# Made by `python -m einthoven_training.rhythm`; figures in docs/models.md.
name = "{NAME}"
version = "{VERSION}"
kind = "rhythm"
licence = "ODC-BY 1.0"
training_data = "{training_data}"

[onnx]
file = "{path.name}"
sha256 = "{digest}"

# What the model sees: infer/src/rhythm/input.rs.
[input]
layout = "[1, 1, wave + steps + numbers]"
rate_hz = {RATE_HZ}
n_samples = {N_SAMPLES}
numbers = [
    {names},
]

[output]
labels = ["N", "A", "O", "~"]
temperature = 1.0
bias = [0.0, 0.0, 0.0, 0.0]
# Atrial fibrillation begins at or above the one and ends below the other.
enter = {ENTER}
leave = {LEAVE}
""")
    return path


def numbers_of() -> list[str]:
    """Read the names of the numbers from the Rust file that computes them."""
    source = Path(__file__).parents[2] / "src" / "rhythm" / "features.rs"
    text = source.read_text()
    text = text[text.index("pub const NAMES") :]
    names = re.findall(r'"(\w+)"', text[: text.index("];")])
    if len(names) != N_FEATURES:
        raise SystemExit(f"{source} has {len(names)} numbers, where {N_FEATURES} are expected")
    return names


def write_golden(path: Path, folder: Path) -> None:
    """Write the parity fixture: a seeded input as float32 and what onnxruntime makes of it."""
    rng = np.random.default_rng(2017)
    x = np.zeros(N_INPUT)
    x[:N_SAMPLES] = np.clip(np.cumsum(rng.normal(0, 0.05, N_SAMPLES)) % 0.6 - 0.3, -1, 1)
    x[100:N_SAMPLES:97] = 1.0
    steps = x[N_SAMPLES : N_SAMPLES + N_CHANNELS * N_STEPS].reshape(N_CHANNELS, N_STEPS)
    steps[:2] = 1.0
    steps[2, 12::12] = 1.0
    steps[3:5] = np.repeat(rng.normal(0, 0.2, (2, N_STEPS // 12)), 12, axis=1)
    steps[7] = -1.0
    x[-2 * N_FEATURES : -N_FEATURES] = rng.uniform(0, 1, N_FEATURES)
    x[-N_FEATURES:] = 1.0
    x = x.astype("<f4")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = session.run(None, {"stretch": x[None, None]})[0]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.input.f32").write_bytes(x.tobytes())
    (folder / f"{NAME}.output.f32").write_bytes(logits.astype("<f4").tobytes())


def main() -> None:
    """Five folds, their figures, then the model on all records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cinc2017", type=Path, required=True, help="the folder of the Challenge 2017")
    parser.add_argument("--program", type=Path, default=Path("target/release/examples/rhythm_input"))
    parser.add_argument("--work", type=Path, default=Path("training-rhythm"), help="keeps tensors, networks and folds")
    parser.add_argument("--out", type=Path, required=True, help="where the model goes")
    parser.add_argument("--golden", type=Path, help="where the parity fixture goes")
    parser.add_argument("--epochs", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    data = export(args.program, args.cinc2017, args.work / "cinc2017.rows")
    reference = references(args.cinc2017)
    folds = folds_of(reference)
    label = np.array([reference[name] for name in data.record])
    fold = np.array([folds[name] for name in data.record])
    last = data.last > 0
    weight = np.where(last, 1.0, 0.25)

    networks, boosters = [], []
    network_says, trees_said = np.zeros((len(data), 4)), np.zeros((len(data), 4))
    for k in [*range(N_FOLDS), None]:
        chosen = fold != k if k is not None else np.ones(len(data), dtype=bool)
        kept = args.work / f"network-{'all' if k is None else k}.pt"
        if kept.exists():
            network = Network(np.zeros(N_FEATURES), np.ones(N_FEATURES))
            network.load_state_dict(torch.load(kept))
        else:
            network = fit(data, label, chosen, args.epochs, k or 0, log=kept.stem)
            torch.save(network.state_dict(), kept)
        networks.append(network.eval())
        boosters.append(boost(data, label, chosen, k or 0))
        if k is not None:
            held_out = fold == k
            network_says[held_out] = logits_of(network, data.x[held_out])
            trees_said[held_out] = trees_say(boosters[k], data, held_out)

    fused = np.zeros((len(data), 4))
    licence_of = "Challenge 2017 (ODC-BY 1.0)"
    for k in range(N_FOLDS):
        others, held_out = fold != k, fold == k
        stack = fit_stack(network_says[others], trees_said[others], label[others], weight[others])
        fused[held_out] = mix(stack, network_says[held_out], trees_said[held_out])
        model = Fused(networks[k], Trees(boosters[k]), stack)
        folder = args.work / f"fold-{k}"
        write(model, f"{licence_of}, all folds but {k}", folder, data.x[0])
        names = sorted(name for name, of in folds.items() if of == k)
        (folder / "records").write_text("\n".join(names) + "\n")
    for name, logits in (("network", network_says), ("trees", trees_said), ("both", fused)):
        for k in range(N_FOLDS):
            of_fold = last & (fold == k)
            print(name, f"fold {k}", figures(label[of_fold], logits[of_fold]))
        print(name, "all", figures(label[last], logits[last]))
    print(confusion(label[last], fused[last].argmax(axis=1)))
    stack = fit_stack(network_says, trees_said, label, weight)
    print("weights of network and trees, bias:", stack.round(3))
    n = len(reference)
    path = write(Fused(networks[-1], Trees(boosters[-1]), stack), f"{licence_of}, {n} records", args.out, data.x[0])
    if args.golden:
        write_golden(path, args.golden)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def figures(truth: np.ndarray, logits: np.ndarray) -> str:
    """Write F1 of each label, the mean of the first three, and the calibration error of the answer, in a line."""
    f1 = f1_of(truth, logits.argmax(axis=1))
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = odds / odds.sum(axis=1, keepdims=True)
    sure, right = p.max(axis=1), p.argmax(axis=1) == truth
    bins = np.minimum((sure * 10).astype(int), 9)
    error = sum(abs(sure[bins == b].sum() - right[bins == b].sum()) for b in range(10)) / len(truth)
    said = ", ".join(f"{name} {value:.3f}" for name, value in zip(LABELS, f1, strict=True))
    return f"F1 {said}; mean of N, A, O {f1[:3].mean():.4f}; calibration error {error:.3f}"


if __name__ == "__main__":
    main()
