"""Train the classifier of twelve leads: one command from recordings to what ships.

    python -m einthoven_training.classify --ptbxl DIR --zscored DIR --out infer/models

PTB-XL, whole or part, is split by its folds, which keep patients apart: 9 (or `--test-fold`) is only ever scored. The
rest is cut by patient into parts. One network is trained without each part, and by their answers on the parts that they
never saw probabilities are calibrated and limits set; one, which ships, is trained on everything. A run is a function
of its arguments; each network is kept in `--work`, and a run that was stopped goes on with the first that is missing.
"""

import argparse
import copy
import json
import time
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from einthoven_training import augment, judge, recordings, ship
from einthoven_training.classifier import (
    N_LEADS,
    N_SAMPLES,
    RATE_HZ,
    WIDTHS,
    WINDOW_RATE_HZ,
    Classifier,
    normalised,
    prepared,
)
from einthoven_training.leads import ROWS, TWELVE, twelve
from einthoven_training.model import cost
from einthoven_training.optimise import descend, follow, optimizer_of
from einthoven_training.recordings import CLASSES, COMPLETED, MEASURED, Recordings, view_of

BATCH = 64
RATE = 4e-3
WARM_UP = 0.2
DECAY = 0.05
# Samples at 100 Hz that are trained on at once; a piece of the recording that starts anywhere.
PIECE = 512
# How slowly the averaged weights follow.
AVERAGE = 0.99
P_TURNED = 0.5
P_LEAD_LOST = 0.08
MIXUP = 0.3
N_PARTS = 5
FEWER = ("II", "V1", "V5")
MAIN = view_of(COMPLETED[0])
ALONE = f"{view_of(FEWER)} alone"
# The penalty of the linear map on random features.
RIDGE = 100.0


@dataclass
class Recipe:
    """What distinguishes one network of a run from another."""

    epochs: int
    widths: tuple[int, ...] = WIDTHS
    # How often a recording is shown in its measured form; else in a completed one.
    p_measured: float = 0.6
    # Rows of the twelve leads, where it sees only some.
    leads: tuple[int, ...] | None = None
    rate: float = RATE


def piece_of(
    leads: torch.Tensor, real: torch.Tensor, lawful: torch.Tensor, n: int, random: torch.Generator
) -> torch.Tensor:
    """Cut a piece of [batch, 12, 2560] at 250 Hz that starts anywhere: [batch, 12, n] at 100 Hz.

    Pace, electrical axis and noise vary, and now and then a lead is lost.
    """
    batch, _, n_samples = leads.shape
    step = WINDOW_RATE_HZ / RATE_HZ * torch.exp(torch.randn(batch, 1, generator=random) * augment.PACE)
    room = (real[:, 1:] - 1 - real[:, :1] - step * (n - 1)).clamp(min=0)
    at = real[:, :1] + room * torch.rand(batch, 1, generator=random) + step * torch.arange(n)
    at = at * 2 / (n_samples - 1) - 1
    grid = torch.stack([at, torch.zeros_like(at)], dim=-1)[:, None]
    out = F.grid_sample(leads[:, :, None], grid, mode="bilinear", padding_mode="border", align_corners=True)[:, :, 0]
    turn = augment.rotations(batch, random) - torch.eye(3)
    turned = (torch.rand(batch, generator=random) < P_TURNED).float() * lawful
    moved = augment.DOWER @ (turn @ (augment.FRANK @ out[:, ROWS])) * turned[:, None, None]
    out = normalised(augment.disturb(out + twelve(moved), random))
    kept = torch.rand(batch, out.shape[1], 1, generator=random) >= P_LEAD_LOST
    return out * kept


class Training:
    """A network that is being trained on recordings."""

    def __init__(self, recordings: Recordings, recipe: Recipe, seed: int):
        torch.manual_seed(seed)
        self.random = torch.Generator().manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.recordings, self.recipe = recordings, recipe
        self.network = Classifier(len(CLASSES), len(recipe.leads or TWELVE), recipe.widths)
        self.averaged = copy.deepcopy(self.network)
        self.optimizer = optimizer_of(self.network, recipe.rate, DECAY)
        self.n_batches = len(recordings) // BATCH
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, recipe.rate, total_steps=recipe.epochs * self.n_batches, pct_start=WARM_UP
        )
        self.step = 0

    def run(self, name: str) -> Classifier:
        """Train for as long as the recipe says; the averaged weights."""
        bar = tqdm(range(self.recipe.epochs), desc=name, leave=False)
        for _ in bar:
            self.network.train()
            order = self.rng.permutation(len(self.recordings))
            losses = [self.run_batch(order[k * BATCH : (k + 1) * BATCH]) for k in range(self.n_batches)]
            bar.set_postfix(loss=f"{np.mean(losses):.4f}")
        return self.averaged.eval()

    def run_batch(self, chosen: np.ndarray) -> float:
        """Train on one batch."""
        own = self.recordings
        completed = [name for name in own.views if name != MEASURED]
        # The first completed form is the one that counts most.
        shares = np.array([2.0, *[1.0] * (len(completed) - 1)])
        shares = np.array([self.recipe.p_measured, *(shares / shares.sum() * (1 - self.recipe.p_measured))])
        views = self.rng.choice(len(shares), len(chosen), p=shares)
        names = [MEASURED, *completed]
        leads = np.stack([own.views[names[view]][k] for view, k in zip(views, chosen, strict=True)])
        x = piece_of(
            torch.from_numpy(leads).float(),
            torch.from_numpy(own.real[chosen]),
            torch.from_numpy(own.lawful[chosen]).float(),
            PIECE,
            self.random,
        )
        if self.recipe.leads:
            x = x[:, self.recipe.leads]
        y = torch.from_numpy(own.classes[chosen])
        share = float(self.rng.beta(MIXUP, MIXUP))
        other = torch.from_numpy(self.rng.permutation(len(chosen)))
        x, y = share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]
        # Half precision halves the time on processors that have it; sums stay in full.
        with torch.autocast("cpu", torch.bfloat16):
            logits, _ = self.network(x)
        loss = F.binary_cross_entropy_with_logits(logits.float(), y)
        descend(loss, self.network, self.optimizer, self.schedule)
        self.step += 1
        follow(self.averaged, self.network, AVERAGE, self.step)
        return float(loss.detach())


@torch.no_grad()
def answers(network: Classifier, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give logits and embeddings of prepared windows."""
    parts = [network(torch.from_numpy(x[k : k + BATCH])) for k in range(0, len(x), BATCH)]
    return tuple(torch.cat(part).numpy() for part in zip(*parts, strict=True))


RECIPE = Recipe(60)


class Run:
    """Everything of one run: the recordings, their parts, and the networks that are kept."""

    def __init__(self, everything: Recordings, work: Path, seed: int, test_fold: int):
        self.all, self.work, self.seed = everything, work, seed
        self.prepared = {view: prepared(windows) for view, windows in everything.views.items()}
        labelled = everything.labelled
        self.test = np.flatnonzero(labelled & (everything.fold == test_fold))
        self.train = np.flatnonzero(labelled & (everything.fold != test_fold))
        shared = set(everything.patient[self.train]) & set(everything.patient[self.test])
        if shared:
            raise SystemExit(f"patients in training and in what it is judged by: {sorted(shared)[:5]}")
        patients = np.unique(everything.patient[self.train])
        parts = np.random.default_rng(1903).permutation(len(patients)) % N_PARTS
        self.part = parts[np.searchsorted(patients, everything.patient[self.train])]

    def network(self, name: str, rows: np.ndarray, recipe: Recipe) -> Classifier:
        """Train the network of that name, or take it from where it is kept."""
        path = self.work / f"{name}.pt"
        network = Classifier(len(CLASSES), len(recipe.leads or TWELVE), recipe.widths).eval()
        if path.exists():
            network.load_state_dict(torch.load(path))
            return network
        started = time.monotonic()
        kind, _, part = name.partition("-")
        seed = 100_000 * self.seed + 10 * (zlib.crc32(kind.encode()) % 1000) + int(part or N_PARTS)
        network = Training(self.all.where(rows), recipe, seed).run(name)
        torch.save(network.state_dict(), path)
        said = {"network": name, "recordings": len(rows), "seconds": round(time.monotonic() - started)}
        for view in (MEASURED, MAIN):
            logits = self.answers(network, view, self.test, recipe.leads)[0]
            said[f"test {view}"] = round(judge.aucs(self.all.classes[self.test], logits)[-1], 4)
        print(", ".join(f"{key} {value}" for key, value in said.items()), flush=True)
        with (self.work / "log.jsonl").open("a") as log:
            log.write(json.dumps(said) + "\n")
        return network

    def answers(
        self, network: Classifier, view: str, rows: np.ndarray, leads: tuple[int, ...] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give a network's logits and embeddings of recordings in one form."""
        x = self.prepared[view][rows]
        return answers(network, x[:, leads] if leads else x)

    def networks(self) -> tuple[Classifier, dict[str, np.ndarray]]:
        """Train the network that ships, and those of the parts; by form what these say of recordings they never saw."""
        said = {view: np.zeros((len(self.all), len(CLASSES)), dtype=np.float32) for view in (MEASURED, MAIN)}
        for part in range(N_PARTS):
            out = self.train[self.part == part]
            network = self.network(f"s-{part}", self.train[self.part != part], RECIPE)
            for view, logits in said.items():
                logits[out] = self.answers(network, view, out)[0]
        return self.network("s", self.train, RECIPE), said

    def fewer(self) -> np.ndarray:
        """Train the same network on a few leads alone: its logits of the test recordings."""
        leads = tuple(TWELVE.index(lead) for lead in FEWER)
        network = self.network("fewer", self.train, replace(RECIPE, leads=leads, p_measured=1.0))
        return self.answers(network, MEASURED, self.test, leads)[0]

    def random(self) -> np.ndarray:
        """Fit a linear map on the features of a network that was never trained: its scores of the test recordings."""
        torch.manual_seed(self.seed)
        # Wider than what is trained, as befits what cannot adapt.
        network = Classifier(len(CLASSES), widths=(32, 64, 128, 256)).train()
        x = torch.from_numpy(self.prepared[MEASURED])
        with torch.no_grad():
            # Statistics of the normalisation, then features.
            for rows in torch.from_numpy(self.train).split(BATCH):
                network.features(x[rows])
            network.eval()
            features = torch.cat([network.features(part) for part in x.split(BATCH)]).numpy().astype(np.float64)
        mean, deviation = features[self.train].mean(axis=0), features[self.train].std(axis=0) + 1e-6
        features = (features - mean) / deviation
        weights = judge.probe(features[self.train], self.all.classes[self.train], RIDGE)
        return features[self.test] @ weights[:-1] + weights[-1]


def evidence(run: Run, said: dict[str, np.ndarray]) -> list[ship.Label]:
    """Fit what turns logits into findings, on recordings that the answering network never saw."""
    truth = run.all.classes[run.train]
    out = []
    for k, name in enumerate(CLASSES):
        fits = {view: judge.platt(truth[:, k], logits[run.train, k]) for view, logits in said.items()}
        a, b = fits[MEASURED]
        p = judge.sigmoid(a * said[MEASURED][run.train, k] + b)
        threshold, f1 = judge.best_threshold(truth[:, k], p)
        print(f"{name}: threshold {threshold:.3f}, F1 {f1:.3f}")
        out.append(ship.Label(name, fits[MEASURED], fits[MAIN], threshold, judge.conformal_limit(truth[:, k], p)))
    return out


def prototypes(run: Run, network: Classifier, labels: list[ship.Label]) -> list[ship.Prototype]:
    """Choose training recordings that stand for each class, of those that are classified right.

    Where there are enough, they are recordings whose leads have their sizes.
    """
    logits, embeddings = run.answers(network, MEASURED, run.train)
    p = judge.calibrated(logits, [label.calibration for label in labels])
    truth = run.all.classes[run.train]
    right = ((p >= [label.threshold for label in labels]) == (truth > 0)).all(axis=1)
    own = np.char.startswith(run.all.name[run.train], "ptbxl/")
    chosen: set[int] = set()
    for k in range(len(CLASSES)):
        of_class = np.flatnonzero(right & (truth[:, k] > 0) & own)
        if len(of_class) < 2 * judge.N_PROTOTYPES:
            of_class = np.flatnonzero(right & (truth[:, k] > 0))
        chosen |= set(of_class[judge.medoids(embeddings[of_class], judge.N_PROTOTYPES)].tolist())
    return [
        ship.Prototype(
            str(run.all.name[run.train[row]]),
            [CLASSES[k] for k in np.flatnonzero(truth[row])],
            embeddings[row] / (np.linalg.norm(embeddings[row]) + 1e-9),
        )
        for row in sorted(chosen)
    ]


def report(run: Run, said: dict[str, np.ndarray], network: Classifier, labels: list[ship.Label]) -> dict:
    """Score what is held out; print it, and give it for the card."""
    truth, patient = run.all.classes[run.test], run.all.patient[run.test]
    scores = {view: run.answers(network, view, run.test)[0] for view in run.all.views}
    scores |= {ALONE: run.fewer(), "random network": run.random()}
    figures: dict = {"recordings": len(run.test), "patients": len(set(patient.tolist()))}
    figures["with class"] = truth.sum(axis=0).astype(int).tolist()
    for name, logits in scores.items():
        low, high = judge.intervals(truth, logits, patient)
        figures[name] = {"auc": judge.aucs(truth, logits).tolist(), "low": low.tolist(), "high": high.tolist()}
    figures["measured above completed"] = judge.difference(truth, scores[MEASURED], scores[MAIN], patient)
    figures["completed above alone"] = judge.difference(truth, scores[MAIN], scores[ALONE], patient)
    for view in (MEASURED, MAIN):
        fits = [label.calibration if view == MEASURED else label.calibration_reconstructed for label in labels]
        p = judge.calibrated(scores[view], fits)
        found = p >= [label.threshold for label in labels]
        kept = p >= [label.conformal for label in labels]
        figures[view] |= {
            "ece": judge.calibration_error(truth, p),
            "ece by chance": judge.calibration_error_by_chance(p),
            "f1": [judge.f1_at(truth[:, k], found[:, k]) for k in range(len(CLASSES))],
            "covered": [float(kept[truth[:, k] > 0, k].mean()) for k in range(len(CLASSES))],
            "findings": float(found.sum(axis=1).mean()),
            "in the set": float(kept.sum(axis=1).mean()),
        }
        own, logits = run.all.classes[run.train], said[view][run.train]
        figures[view]["cross-validated auc"] = judge.aucs(own, logits).tolist()
        # Calibrated by other parts than the one that is scored.
        p = np.empty_like(logits)
        for part in range(N_PARTS):
            seen, out = run.part != part, run.part == part
            fits = [judge.platt(own[seen, k], logits[seen, k]) for k in range(len(CLASSES))]
            p[out] = judge.calibrated(logits[out], fits)
        figures[view]["cross-validated ece"] = judge.calibration_error(own, p)
        figures[view]["cross-validated ece by chance"] = judge.calibration_error_by_chance(p)
    for name, own in figures.items():
        if isinstance(own, dict):
            middle = " ".join(f"{value:.3f}" for value in own["auc"])
            print(f"{name}: {middle} ({own['low'][-1]:.3f} to {own['high'][-1]:.3f})")
            print(
                "".join(f"  {key} {np.round(own[key], 4)}\n" for key in own if key not in ("auc", "low", "high")),
                end="",
            )
    return figures


def main() -> None:
    """Train, print the figures, export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ptbxl", type=Path, required=True, help="PTB-XL, or a part of it")
    parser.add_argument("--zscored", type=Path, help="PTB-XL at 100 Hz, every lead scaled by itself")
    parser.add_argument(
        "--out", type=Path, required=True, help="where model and manifest go; vae-12 is taken from there"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("training/classify"), help="recordings, networks, log, figures"
    )
    parser.add_argument("--einthoven", type=Path, default=Path("target/release/einthoven"))
    parser.add_argument("--golden", type=Path, help="where the parity fixture goes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--test-fold", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)

    cache = arguments.work / "recordings.npz"
    if cache.exists():
        everything = Recordings.read(cache)
    else:
        everything = recordings.load(
            arguments.einthoven,
            arguments.ptbxl,
            arguments.zscored,
            arguments.out / "vae-12.onnx",
            arguments.test_fold,
        )
        everything.write(cache)
    run = Run(everything, arguments.work, arguments.seed, arguments.test_fold)
    macs, parameters = cost(Classifier(len(CLASSES)), torch.zeros(1, N_LEADS, N_SAMPLES))
    print(f"training {len(run.train)}, test {len(run.test)}")
    print(f"{parameters / 1e6:.2f} M parameters, {macs / 1e6:.1f} M MAC a window", flush=True)
    network, said = run.networks()
    labels = evidence(run, said)
    figures = report(run, said, network, labels)
    (arguments.work / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    sources, counts = np.unique([name.split("/")[0] for name in everything.name[run.train]], return_counts=True)
    described = ", ".join(f"{name} ({n} recordings)" for name, n in zip(sources, counts, strict=True))
    ship.write(network, labels, prototypes(run, network, labels), described, arguments.out, arguments.golden)


if __name__ == "__main__":
    main()
