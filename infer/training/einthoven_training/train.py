"""Train the model that completes twelve leads: one command from recordings to what ships.

    python -m einthoven_training.train --ptbxl DIR --out infer/models

PTB-XL, whole or part, is split by its folds, which keep patients apart: 1 to 7 and whatever else is given are
trained on, 8 decides when to stop and calibrates the bands, 9 (or `--test-fold`) is only ever scored. A run is a
function of its arguments; it goes on where it stopped if the same `--work` is given again.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from einthoven_training import augment, data, export, figures
from einthoven_training.leads import twelve
from einthoven_training.model import N_LEADS, STRIDE, Network, Output, cost
from einthoven_training.optimise import descend, follow, optimizer_of

BATCH = 32
RATE = 3e-3
WARM_UP = 0.1
DECAY = 0.02
# Weights of the terms of the loss beside 1 - r.
HUBER = 0.5
VARIANCE = 0.03
KL = 1e-5
FROM_LATENT = 0.1
ERROR = 0.05
# How often sizes of chest leads are not told.
P_UNTOLD = 0.15
# How slowly the averaged weights follow.
AVERAGE = 0.998
# Training ends when validation has not become better for so many looks at it.
PATIENCE = 4
LOOK_EVERY = 4
VALIDATION_FOLD = 8
MAIN = ("II", "V1", "V5")


def correlation(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Pearson's r over the last axis of what has weight."""
    n = weight.sum(-1, keepdim=True).clamp(min=1)
    a = (a - (a * weight).sum(-1, keepdim=True) / n) * weight
    b = (b - (b * weight).sum(-1, keepdim=True) / n) * weight
    return (a * b).sum(-1) / torch.sqrt((a * a).sum(-1) * (b * b).sum(-1) + 1e-8)


def loss_of(
    out: Output, truth: torch.Tensor, there: torch.Tensor, real: torch.Tensor, scaled: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum the loss of a batch; also its mean 1 - r over missing leads.

    What is measured passes through, so all twelve leads are compared and those that are exact count for nothing.
    """
    given = torch.where(there > 0, truth, out.leads * out.scale)
    found, wanted = twelve(given), twelve(truth)
    weight = real[:, None]
    missing = (((found - wanted) ** 2).mean(2) > 1e-10).float()
    shape = 1 - correlation(found, wanted, weight)
    n_real = weight.sum(2)
    size = torch.sqrt((wanted**2 * weight).sum(2) / n_real)
    # A small lead counts less than in r, and more than in mV.
    size = size + 0.3 * size.mean(1, keepdim=True)
    off = F.smooth_l1_loss(found / size[:, :, None], wanted / size[:, :, None], beta=0.5, reduction="none")
    off = (off * weight).sum(2) / n_real
    # Limb leads always have a scale against each other; chest leads where it is known.
    known = missing.clone()
    known[:, 6:] *= scaled[:, None]
    r_loss = (shape * missing).sum() / missing.sum().clamp(min=1)
    loss = r_loss + HUBER * (off * known).sum() / known.sum().clamp(min=1)
    # The variance is of the leads as they are, so it must not move them.
    squared = ((out.leads.detach() - truth / out.scale) ** 2 * real[:, None]).view(*truth.shape[:2], -1, STRIDE)
    share = real.view(len(real), 1, -1, STRIDE).mean(3)
    nll = squared.mean(3) * torch.exp(-out.log_variance) + out.log_variance * share
    unseen = (there.amax(2) == 0).float()
    unseen[:, 2:] *= scaled[:, None]
    loss = loss + VARIANCE * (nll.mean(2) * unseen).sum() / unseen.sum().clamp(min=1)
    divergence = -0.5 * (1 + out.latent_log_variance - out.latent_mean**2 - torch.exp(out.latent_log_variance)).sum(
        (1, 2)
    )
    loss = loss + KL * divergence.mean()
    whole = F.smooth_l1_loss(out.from_latent, truth / out.scale, beta=0.5, reduction="none")
    loss = loss + FROM_LATENT * ((whole * weight).sum(2) / n_real).mean()
    power = ((found - wanted).detach() ** 2 * weight).sum(2) / n_real
    power = (power * known).sum(1) / known.sum(1).clamp(min=1)
    wanted_error = 0.5 * torch.log(power / out.scale[:, 0, 0] ** 2 + 1e-6)
    # What would be counted of a window without sizes is only half of it.
    counted = scaled * (known.sum(1) > 0)
    expected = F.smooth_l1_loss(out.log_error, wanted_error, reduction="none")
    loss = loss + ERROR * (expected * counted).sum() / counted.sum().clamp(min=1)
    return loss, r_loss.detach()


class Trainer:
    """Everything that changes while a network is trained, and can be kept on disk."""

    def __init__(self, train: data.Windows, validation: data.Windows, epochs: int, seed: int):
        torch.manual_seed(seed)
        self.random = torch.Generator().manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.train, self.validation, self.epochs = train, validation, epochs
        self.network = Network()
        self.averaged = copy.deepcopy(self.network)
        self.optimizer = optimizer_of(self.network, RATE, DECAY)
        self.n_batches = len(train) // BATCH
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, RATE, total_steps=epochs * self.n_batches, pct_start=WARM_UP
        )
        self.epoch, self.step = 0, 0
        self.best, self.best_r, self.waited = copy.deepcopy(self.averaged.state_dict()), -1.0, 0

    def state(self) -> dict:
        """Gather what a later run needs to go on."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": self.random.get_state(),
            "torch": torch.get_rng_state(),
            "rng": self.rng.bit_generator.state,
            "best": self.best,
            "numbers": (self.epoch, self.step, self.best_r, self.waited),
        }

    def resume(self, state: dict) -> None:
        """Go on from a state that was kept."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.random.set_state(state["random"])
        torch.set_rng_state(state["torch"])
        self.rng.bit_generator.state = state["rng"]
        self.best = state["best"]
        self.epoch, self.step, self.best_r, self.waited = state["numbers"]

    def run_epoch(self) -> dict:
        """Train on every window once."""
        self.network.train()
        order = self.rng.permutation(len(self.train))
        losses, started = [], time.monotonic()
        bar = tqdm(range(self.n_batches), desc=f"epoch {self.epoch + 1} of {self.epochs}", leave=False)
        for k in bar:
            losses.append(self.run_batch(order[k * BATCH : (k + 1) * BATCH]))
            bar.set_postfix(r=f"{1 - np.mean(losses[-50:], axis=0)[1]:.4f}")
        self.epoch += 1
        loss, r_loss = np.mean(losses, axis=0)
        seconds = time.monotonic() - started
        return {"epoch": self.epoch, "loss": loss, "train_r": 1 - r_loss, "seconds": seconds}

    def run_batch(self, chosen: np.ndarray) -> tuple[float, float]:
        """Train on one batch."""
        leads = torch.from_numpy(self.train.leads[chosen])
        real = torch.from_numpy(self.train.real[chosen])
        scaled = torch.from_numpy(self.train.scaled[chosen]).float()
        truth, real = augment.vary(leads, real, self.random)
        there = augment.masks(len(chosen), truth.shape[2], self.rng)
        x = torch.cat([augment.disturb(truth, self.random) * there, there], dim=1)
        # Now and then sizes are not told where they are known, so that shape alone is learnt from as well.
        told = scaled * (torch.rand(len(chosen), generator=self.random) >= P_UNTOLD)
        known = torch.cat([torch.ones(len(chosen), 2), told[:, None].expand(-1, N_LEADS - 2)], dim=1)
        # Half precision halves the time on processors that have it; sums stay in full.
        with torch.autocast("cpu", torch.bfloat16):
            out = self.network(x, sample=True, known=known)
        out = Output(*(part.float() for part in out))
        loss, r_loss = loss_of(out, truth, there, real, scaled)
        descend(loss, self.network, self.optimizer, self.schedule)
        self.step += 1
        follow(self.averaged, self.network, AVERAGE, self.step)
        return float(loss), float(r_loss)

    def look(self) -> dict:
        """Score the averaged weights on validation; keep them if they are the best so far."""
        r = figures.mean_r(self.averaged, self.validation, MAIN)
        if r > self.best_r:
            self.best, self.best_r, self.waited = copy.deepcopy(self.averaged.state_dict()), r, 0
        else:
            self.waited += 1
        return {"validation_r": r}


def load(arguments: argparse.Namespace) -> tuple[data.Windows, data.Windows, data.Windows]:
    """Cut every recording that is named; what is trained on, validated on, tested on."""
    cache = arguments.work / "windows.npz"
    if cache.exists():
        windows = data.Windows.read(cache)
    else:
        program = arguments.einthoven
        ptbxl = data.windows_of(data.cut(program, arguments.ptbxl, "ptbxl"), "ptbxl")
        parts = [ptbxl]
        for folder in arguments.wfdb:
            parts.append(data.windows_of(data.cut(program, folder, folder.name), folder.name))
        for folder in arguments.raw:
            rows = data.cut(program, folder, folder.name, gain=1000.0)
            parts.append(data.windows_of(rows, folder.name))
        if arguments.zscored:
            # Sizes are learnt from training records alone.
            own = ptbxl.where(training_folds(ptbxl, arguments.test_fold))
            parts.append(data.zscored(program, arguments.zscored, own))
        windows = data.Windows.join(parts)
        arguments.work.mkdir(parents=True, exist_ok=True)
        windows.write(cache)
    train, validation, test = split(windows, arguments.test_fold)
    shared = set(train.patient) & (set(validation.patient) | set(test.patient))
    if shared:
        raise SystemExit(f"patients in training and in what it is judged by: {sorted(shared)[:5]}")
    return train, validation, test


def split(windows: data.Windows, test_fold: int) -> tuple[data.Windows, data.Windows, data.Windows]:
    """Split into what is trained on, validated on and tested on; the last two are PTB-XL with its scale."""
    ours = windows.source == "ptbxl"
    return (
        windows.where(training_folds(windows, test_fold)),
        windows.where(ours & (windows.fold == VALIDATION_FOLD)),
        windows.where(ours & (windows.fold == test_fold)),
    )


def training_folds(windows: data.Windows, test_fold: int) -> np.ndarray:
    """Mark the windows that may be trained on."""
    ours = windows.source == "ptbxl"
    held_out = (windows.fold == test_fold) | (ours & (windows.fold == VALIDATION_FOLD))
    return ~held_out


def main() -> None:
    """Train, print the figures, export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ptbxl", type=Path, required=True, help="PTB-XL, or a part of it")
    parser.add_argument("--zscored", type=Path, help="PTB-XL at 100 Hz, every lead scaled by itself")
    parser.add_argument("--wfdb", type=Path, action="append", default=[], help="more recordings")
    parser.add_argument("--raw", type=Path, action="append", default=[], help="more, whose gains are to be ignored")
    parser.add_argument("--out", type=Path, required=True, help="where model and manifest go")
    parser.add_argument("--work", type=Path, default=Path("training"), help="windows, state, log")
    parser.add_argument("--einthoven", type=Path, default=Path("target/release/einthoven"))
    parser.add_argument("--golden", type=Path, help="where the parity fixture goes")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--test-fold", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    train, validation, test = load(arguments)
    sources, counts = np.unique(train.source, return_counts=True)
    by_source = dict(zip(sources.tolist(), counts.tolist(), strict=True))
    print(f"training {by_source}, validation {len(validation)}, test {len(test)}")
    trainer = Trainer(train, validation, arguments.epochs, arguments.seed)
    macs, parameters = cost(trainer.network, torch.zeros(1, 2 * N_LEADS, train.leads.shape[2]))
    print(f"{parameters / 1e6:.2f} M parameters, {macs / 1e6:.1f} M MAC a window")
    state = arguments.work / "state.pt"
    if state.exists():
        trainer.resume(torch.load(state, weights_only=False))
        print(f"going on after epoch {trainer.epoch}")
    with (arguments.work / "log.jsonl").open("a") as log:
        while trainer.epoch < arguments.epochs and trainer.waited < PATIENCE:
            said = trainer.run_epoch()
            if trainer.epoch % LOOK_EVERY == 0 or trainer.epoch == arguments.epochs:
                said |= trainer.look()
            print(", ".join(f"{name} {value:.4g}" for name, value in said.items()), flush=True)
            log.write(json.dumps(said) + "\n")
            log.flush()
            torch.save(trainer.state(), state)
    network = trainer.averaged
    network.load_state_dict(trainer.best)
    network.eval()
    sets = figures.calibrate(network, validation)
    figures.report("PTB-XL, test", network, test, sets)
    described = f"{', '.join(f'{name} ({n} windows)' for name, n in by_source.items())}"
    own = train.where(train.source == "ptbxl")
    export.write(network, sets, own, described, arguments.out, arguments.golden)


if __name__ == "__main__":
    main()
