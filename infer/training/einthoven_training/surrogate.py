"""Train what draws a synthetic ECG from a pulse wave, and write what ships.

    einthoven evaluate pulse DATA/cinc2015 --weights PULSE_FOLDS --json --lists > lists.json
    python -m einthoven_training.surrogate DATA/cinc2015 lists.json --out ../models --folds FOLDS --golden golden

A conditional variational autoencoder of single beats. A beat of lead II and the pulse that it makes share a latent: the
posterior is that of the beat, the prior is told from 2.56 s of the wave around the pulse, and one decoder makes a beat
of either, as what is added to the mean beat of all patients. What ships knows the wave alone and decodes the mean of
its prior, so that the same wave gives the same beat. Beside that the encoder says how much earlier or later than usual
the beat was.

FOLDS gets `RECORD.bin` for each record: the ONNX file of the network that did not see it. The mean beat is an output of
its own: the template that the network has to beat.
"""

import argparse
import copy
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn
from tqdm import trange

from einthoven_training import surrogate_data
from einthoven_training.export import write_checked
from einthoven_training.optimise import descend, follow, optimizer_of
from einthoven_training.ppg_prepare import BAND_HZ, CLIP, prepared
from einthoven_training.ppg_prepare import RATE_HZ as WAVE_HZ
from einthoven_training.surrogate_data import BEAT_HZ, BEFORE, FOLDS, N_AROUND, N_BEAT, N_CHANNELS, Pulses

NAME = "ppg-ecg-1"
VERSION = "1.0.0"
N_LATENT = 4
# tract and onnxruntime may differ by so much.
PARITY = 1e-4
# A beat comes so long before its pulse, s; where nothing is known of the patient and the device.
ARRIVAL = 0.25
# No beat comes earlier or later than by this, s.
MOST = 0.12
STEPS, BATCH, RATE, DECAY = 700, 128, 2e-3, 0.1
# Of the divergence between posterior and prior.
BETA = 0.2


class Network(nn.Module):
    """Two encoders and a decoder around one latent."""

    def __init__(self, template: np.ndarray):
        super().__init__()
        self.register_buffer("template", torch.from_numpy(template.astype(np.float32)))
        widths = (N_CHANNELS, 12, 24, 24)
        layers = []
        for k, size in enumerate((7, 5, 5)):
            layers += [
                nn.Conv1d(widths[k], widths[k + 1], size, 2, size // 2, bias=False),
                nn.BatchNorm1d(widths[k + 1]),
                nn.ReLU(inplace=True),
            ]
        self.wave = nn.Sequential(*layers, nn.Flatten())
        n = widths[-1] * N_AROUND // 8
        self.timing = nn.Sequential(nn.Dropout(0.3), nn.Linear(n, 48), nn.ReLU(inplace=True), nn.Linear(48, 1))
        # Two hundred patients are soon known by heart.
        self.prior = nn.Sequential(
            nn.Dropout(0.6), nn.Linear(n, 32), nn.ReLU(inplace=True), nn.Dropout(0.6), nn.Linear(32, 2 * N_LATENT)
        )
        self.posterior = nn.Sequential(nn.Linear(N_BEAT, 64), nn.ReLU(inplace=True), nn.Linear(64, 2 * N_LATENT))
        self.decoder = nn.Sequential(nn.Linear(N_LATENT, 64), nn.ReLU(inplace=True), nn.Linear(64, N_BEAT))
        # What nothing was learnt of is the template.
        nn.init.zeros_(self.decoder[2].weight)
        nn.init.zeros_(self.decoder[2].bias)

    def of_wave(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean and log variance of the prior, and how late the beat is, s."""
        found = self.wave(x)
        mean, spread = self.prior(found).chunk(2, dim=1)
        return mean, spread.clamp(-8, 4), MOST * torch.tanh(self.timing(found))

    def of_beat(self, beat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance of the posterior."""
        mean, spread = self.posterior(beat).chunk(2, dim=1)
        return mean, spread.clamp(-8, 4)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """A beat, mV."""
        return self.template + self.decoder(z)


class Shipped(nn.Module):
    """What runs: `[1, 2, 1 + beat]`: how late, and the beat; then the same of the template, which is never late."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Decode the mean of the prior."""
        mean, _, late = self.network.of_wave(x)
        made = torch.cat([late, self.network.decode(mean)], dim=1)
        template = torch.cat([torch.zeros(1), self.network.template])[None]
        return torch.stack([made, template], dim=1)


def weights(record: np.ndarray) -> np.ndarray:
    """What each pulse counts: records by the square root of what they have."""
    _, place, n = np.unique(record, return_inverse=True, return_counts=True)
    each = 1 / np.sqrt(n[place])
    return each / each.sum()


def mean_beat(pulses: Pulses, shown: np.ndarray) -> np.ndarray:
    """The mean of the median beats of records."""
    names = np.unique(pulses.record[shown])
    return np.mean([np.median(pulses.beat[shown & (pulses.record == name)], axis=0) for name in names], axis=0)


def disturbed(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change what does not change the beat: gain and noise of the wave."""
    n = len(x)
    gain = torch.from_numpy(np.exp(rng.normal(0, 0.15, n)).astype(np.float32))[:, None]
    noise = torch.from_numpy(np.where(rng.random(n) < 0.5, rng.exponential(0.05, n), 0).astype(np.float32))[:, None]
    wave = (x[:, 0] * gain + noise * torch.randn(n, x.shape[2])).clamp(-CLIP, CLIP)
    return torch.cat([wave[:, None], x[:, 1:]], dim=1)


def unlike(made: torch.Tensor, beat: torch.Tensor) -> torch.Tensor:
    """One less Pearson's r, by beat."""
    a, b = made - made.mean(dim=1, keepdim=True), beat - beat.mean(dim=1, keepdim=True)
    return 1 - (a * b).sum(dim=1) / ((a * a).sum(dim=1) * (b * b).sum(dim=1) + 1e-6).sqrt()


def apart(made: torch.Tensor, beat: torch.Tensor) -> torch.Tensor:
    """How far a beat is from another: in mV, large errors by their size alone, and in shape."""
    far = nn.functional.smooth_l1_loss(made, beat, beta=0.2, reduction="none").mean(dim=1)
    return 4 * far + 0.5 * unlike(made, beat)


def fit(pulses: Pulses, shown: np.ndarray, seed: int, steps: int = STEPS) -> Network:
    """Train on the pulses that are shown."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = Network(mean_beat(pulses, shown))
    average = copy.deepcopy(network)
    optimizer = optimizer_of(network, RATE, DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * min(1.0, step / steps)))
    )
    places = np.flatnonzero(shown)
    odds = weights(pulses.record[places])
    network.train()
    for step in trange(steps, desc=f"{NAME}, seed {seed}", mininterval=20):
        at = rng.choice(places, BATCH, p=odds)
        beat, late = torch.from_numpy(pulses.beat[at]), torch.from_numpy(pulses.late[at])
        prior, spread, said = network.of_wave(disturbed(torch.from_numpy(pulses.x[at]), rng))
        mean, own = network.of_beat(beat)
        z = mean + (own / 2).exp() * torch.randn_like(mean)
        divergence = 0.5 * (spread - own + (own.exp() + (mean - prior) ** 2) / spread.exp() - 1).sum(dim=1)
        rebuilt, made = apart(network.decode(z), beat), apart(network.decode(prior), beat)
        timing = nn.functional.smooth_l1_loss(said[:, 0], late, beta=0.02, reduction="none") * 20
        loss = (0.3 * rebuilt + made + BETA * divergence + timing).mean()
        descend(loss, network, optimizer, schedule)
        follow(average, network, 0.995, step)
    return average.eval()


@torch.no_grad()
def made_of(network: Network, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How late each beat is, s, and the beats, mV."""
    parts = []
    for k in range(0, len(x), 512):
        mean, _, late = network.of_wave(torch.from_numpy(x[k : k + 512]))
        parts.append((late[:, 0], network.decode(mean)))
    late, beats = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return late, beats


def alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's r of each row."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1) + 1e-9)


def judge(network: Network, pulses: Pulses, chosen: np.ndarray) -> np.ndarray:
    """Judge beat by beat, before anything is laid: [record, template or network, (median ms, r, mV)].

    `einthoven evaluate surrogate` judges what is laid.
    """
    late, made = made_of(network, pulses.x[chosen])
    rows = []
    for name in np.unique(pulses.record[chosen]):
        own = pulses.record[chosen] == name
        beats, truth = pulses.beat[chosen][own], pulses.late[chosen][own]
        if own.sum() < 20:
            continue
        both = []
        for said, drawn in ((0.0, np.broadcast_to(network.template.numpy(), beats.shape)), (late[own], made[own])):
            error = truth - said
            error = np.abs(error - np.median(error))
            far = np.sqrt(((drawn - beats) ** 2).mean(axis=1))
            both.append((1000 * np.median(error), alike(drawn, beats).mean(), far.mean()))
        rows.append(both)
    return np.array(rows)


def write(network: Network, training_data: str, path: Path) -> None:
    """Write the ONNX file and its manifest, after a check that onnxruntime says the same as PyTorch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shipped = Shipped(network).eval()
    sample = torch.randn(1, N_CHANNELS, N_AROUND, generator=torch.Generator().manual_seed(1))
    digest = write_checked(shipped, sample, path, ("pulse", "beats"), PARITY)
    path.with_suffix(".toml").write_text(f"""\
# Made by `python -m einthoven_training.surrogate`; figures in docs/models.md. What it draws is no ECG.
name = "{NAME}"
version = "{VERSION}"
kind = "surrogate"
licence = "ODC-BY 1.0"
training_data = "{training_data}"

[onnx]
file = "{path.name}"
sha256 = "{digest}"

# What the model sees of a pulse: infer/src/surrogate/input.rs.
[input]
layout = "[1, wave + onsets + before + after, sample]"
channels = {N_CHANNELS}
rate_hz = {float(WAVE_HZ)}
n_samples = {N_AROUND}
band_hz = [{BAND_HZ[0]}, {BAND_HZ[1]}]
clip = {CLIP}

[output]
layout = "[1, model + template, late + sample]"
rate_hz = {float(BEAT_HZ)}
n_samples = {N_BEAT}
before = {BEFORE}
# Nominal, from the R peak to the onset of its pulse.
arrival_seconds = {ARRIVAL}
""")


def write_golden(path: Path, folder: Path) -> None:
    """Write the parity fixtures: of the wave of `ppg-rhythm-1.input.f32` with pulses each 0.8 s.

    `.input.f32` is what is seen of each pulse, [pulse, 4, 128]; `.output.f32` what onnxruntime makes of it.
    """
    wave = np.frombuffer((folder / "ppg-rhythm-1.input.f32").read_bytes(), "<f4")
    onsets = 0.37 + 0.8 * np.arange(12)
    window = prepared(wave[None], 100)[0]
    before, after = surrogate_data.intervals(onsets)
    x = np.array([surrogate_data.seen(window, onsets, *row) for row in zip(onsets, before, after, strict=True)])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    beats = np.concatenate([session.run(None, {"pulse": one[None]})[0] for one in x])
    (folder / f"{NAME}.input.f32").write_bytes(x.astype("<f4").tobytes())
    (folder / f"{NAME}.output.f32").write_bytes(beats.astype("<f4").tobytes())


def main() -> None:
    """Pulses, networks of the folds, figures, files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder of Challenge 2015")
    parser.add_argument("lists", type=Path, help="what `einthoven evaluate pulse --json --lists` says of it")
    parser.add_argument("--out", type=Path, default=Path("../models"))
    parser.add_argument("--folds", type=Path, help="gets RECORD.bin for each record")
    parser.add_argument("--golden", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pulses = surrogate_data.read(args.data, args.lists)
    names = np.unique(pulses.record)
    print(f"{len(pulses.x)} views of pulses of {len(names)} records")
    if args.folds:
        figures = []
        for k in range(FOLDS):
            network = fit(pulses, pulses.fold != k, k, args.steps)
            figures.append(judge(network, pulses, pulses.fold == k))
            path = args.folds / f"fold-{k}.onnx"
            write(network, "", path)
            for name in names[[surrogate_data.fold_of(name) == k for name in names]]:
                (args.folds / f"{name}.bin").write_bytes(path.read_bytes())
        figures = np.concatenate(figures)
        print(f"held out, means of {len(figures)} records: median ms, r, mV")
        for what, row in zip(("template", "network"), figures.mean(axis=0), strict=True):
            print(what, np.round(row, 4))
    network = fit(pulses, np.ones(len(pulses.x), dtype=bool), FOLDS, args.steps)
    path = args.out / f"{NAME}.onnx"
    write(network, "Challenge 2015 (ODC-BY 1.0)", path)
    if args.golden:
        write_golden(path, args.golden)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
