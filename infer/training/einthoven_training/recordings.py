"""Recordings with diagnoses, in every form in which the service may show them to a classifier.

A recording is twelve leads in mV at 250 Hz, one window as `einthoven windows` cuts it. `measured` is what was recorded;
a completed form is what the model of twelve leads makes of fewer. Nothing is left out for its quality: what is labelled
is scored.
"""

import ast
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from tqdm import tqdm

from einthoven_training.data import cut, cut_zscored, fold_of
from einthoven_training.leads import EIGHT, ROWS, TWELVE, rows_of, twelve
from einthoven_training.scales import restore

CLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
# The sets of leads that recordings are completed from; the first is the one that figures are about.
COMPLETED = (("II", "V1", "V5"), ("I", "II", "V1", "V5"), ("I", "II"))
MEASURED = "measured"
TINY = 1e-6


def view_of(observed: tuple[str, ...]) -> str:
    """Name the form that starts from these leads."""
    return "+".join(observed)


@dataclass
class Recordings:
    """Recordings, [recording] or [recording, ...] each."""

    # By form: [recording, 12, 2560], mV.
    views: dict[str, np.ndarray]
    # 1 for each class it has, [recording, 5]; where it has none of them `labelled` is false, and it is not used.
    classes: np.ndarray
    labelled: np.ndarray
    # The first sample that was recorded, and the one after the last: [recording, 2].
    real: np.ndarray
    # Whether the limb leads obey the law that binds them.
    lawful: np.ndarray
    patient: np.ndarray
    fold: np.ndarray
    # Database and name, such as `ptbxl/00017_hr`.
    name: np.ndarray

    def __len__(self) -> int:
        """Count the recordings."""
        return len(self.name)

    def where(self, chosen: np.ndarray) -> "Recordings":
        """Take those that are chosen, by mask or index."""
        own = {field: getattr(self, field)[chosen] for field in FIELDS}
        return Recordings({name: view[chosen] for name, view in self.views.items()}, **own)

    def write(self, path: Path) -> None:
        """Keep the recordings in a file."""
        own = {field: getattr(self, field) for field in FIELDS}
        np.savez(path, **own, **{f"view {name}": view for name, view in self.views.items()})

    @staticmethod
    def read(path: Path) -> "Recordings":
        """Read what `write` kept."""
        kept = np.load(path)
        views = {name.removeprefix("view "): kept[name] for name in kept.files if name.startswith("view ")}
        return Recordings(views, **{field: kept[field] for field in FIELDS})

    @staticmethod
    def join(parts: list["Recordings"]) -> "Recordings":
        """Put recordings of several databases together."""
        own = {field: np.concatenate([getattr(part, field) for part in parts]) for field in FIELDS}
        names = parts[0].views
        return Recordings({name: np.concatenate([part.views[name] for part in parts]) for name in names}, **own)


FIELDS = ("classes", "labelled", "real", "lawful", "patient", "fold", "name")


def ptbxl_classes(folder: Path) -> dict[str, np.ndarray]:
    """Read the superclasses of PTB-XL's recordings, by `ecg_id`.

    A recording has the class of every diagnostic statement that it has, whatever the likelihood; as in the database's
    own benchmark.
    """
    with (folder / "scp_statements.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    code = next(iter(rows[0]))
    of = {row[code]: row["diagnostic_class"] for row in rows if row["diagnostic"] and float(row["diagnostic"]) == 1}
    out = {}
    with (folder / "ptbxl_database.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            found = {of[statement] for statement in ast.literal_eval(row["scp_codes"]) if statement in of}
            out[f"{int(row['ecg_id']):05d}"] = np.array([name in found for name in CLASSES], dtype=np.float32)
    return out


def ptbxl(einthoven: Path, folder: Path) -> Recordings:
    """Read PTB-XL, whole or part, as published."""
    rows = cut(einthoven, folder, "ptbxl")
    classes = ptbxl_classes(folder)
    names = np.char.decode(rows["record"])
    labels = np.array([classes[name.split("/")[-1].split("_")[0]] for name in names])
    return recordings(rows, "ptbxl", labels, np.char.add("ptbxl/", np.char.decode(rows["patient"])), rows["fold"])


def zscored(einthoven: Path, folder: Path, scaled: np.ndarray) -> Recordings:
    """Read `ptbxl-zscored`, sizes guessed from `scaled` [recording, 8, sample]: for completion and turning only."""
    rows, own = cut_zscored(einthoven, folder)
    classes = np.array([[float(label[name]) for name in CLASSES] for label in own], dtype=np.float32)
    fold = np.array([fold_of(label) for label in own])
    eight, lawful = restore(rows["samples"], scaled)
    # Every lead keeps its own shape, exactly; only its size is guessed.
    sizes = twelve(torch.from_numpy(eight)).numpy().std(axis=2, keepdims=True)
    samples = rows["samples"] / (rows["samples"].std(axis=2, keepdims=True) + TINY) * sizes
    rows["samples"] = samples
    out = recordings(rows, "ptbxl-zscored", classes, np.full(len(rows), ""), fold)
    out.lawful = lawful
    return out


def recordings(rows: np.ndarray, source: str, classes: np.ndarray, patient: np.ndarray, fold: np.ndarray) -> Recordings:
    """Make recordings of the array that `einthoven windows` writes."""
    samples = np.nan_to_num(rows["samples"]).astype(np.float32)
    names = np.array([f"{source}/{name.split('/')[-1]}" for name in np.char.decode(rows["record"])])
    off = samples[:, 2] - (samples[:, 1] - samples[:, 0])
    lawful = off.std(axis=1) < 0.1 * samples[:, :3].std(axis=2).max(axis=1)
    return Recordings(
        views={MEASURED: samples.astype(np.float16)},
        classes=classes,
        labelled=classes.sum(axis=1) > 0,
        real=np.stack([rows["first"], rows["last"]], axis=1).astype(np.int64),
        lawful=lawful,
        patient=np.where(np.isin(patient, ("", f"{source}/")), names, patient),
        fold=fold.astype(np.int64),
        name=names,
    )


def complete(all_of: Recordings, model: Path) -> None:
    """Add the completed forms: what the model of twelve leads makes of some leads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    eight = all_of.views[MEASURED][:, ROWS]
    for observed in COMPLETED:
        rows = rows_of(observed)
        x = np.zeros((1, 2 * len(EIGHT), eight.shape[2]), dtype=np.float32)
        x[0, [len(EIGHT) + row for row in rows]] = 1.0
        out = np.empty((len(eight), len(TWELVE), eight.shape[2]), dtype=np.float16)
        for k, window in enumerate(tqdm(eight, desc=f"completing {view_of(observed)}", leave=False)):
            x[0, rows] = window[rows]
            leads = session.run(None, {"measured": x})[0]
            leads[0, rows] = window[rows]
            out[k] = twelve(torch.from_numpy(leads)).numpy()[0]
        all_of.views[view_of(observed)] = out


def load(
    einthoven: Path,
    folder: Path,
    own_zscored: Path | None,
    model: Path,
    test_fold: int,
) -> Recordings:
    """Read and complete everything."""
    first = ptbxl(einthoven, folder)
    parts = [first]
    if own_zscored:
        scaled = first.views[MEASURED][first.fold != test_fold][:, ROWS].astype(np.float32)
        parts.append(zscored(einthoven, own_zscored, scaled))
    everything = Recordings.join(parts)
    complete(everything, model)
    return everything
