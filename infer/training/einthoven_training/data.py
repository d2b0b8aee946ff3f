"""Windows of twelve-lead recordings, as `einthoven windows` cuts them, ready for training.

There is no signal processing here: every window comes from the service's own chain.
"""

import csv
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from einthoven_training.leads import ROWS, TWELVE
from einthoven_training.scales import restore

# Windows larger than this, root mean square in mV of any lead, are artefacts.
MAX_MV = 3.0
# Limb leads that contradict each other by more than this share are not used.
MAX_VIOLATION = 0.1
FLAT_MV = 0.005


@dataclass
class Windows:
    """Windows of eight leads, [window, 8, sample] in mV, and what is known of each."""

    leads: np.ndarray
    # The first sample that was recorded, and the one after the last: [window, 2].
    real: np.ndarray
    # Whether the scale of each chest lead is real, or was guessed from other recordings.
    scaled: np.ndarray
    patient: np.ndarray
    fold: np.ndarray
    source: np.ndarray

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.leads)

    def where(self, chosen: np.ndarray) -> "Windows":
        """Take those that are chosen, by mask or index."""
        return Windows(
            self.leads[chosen],
            self.real[chosen],
            self.scaled[chosen],
            self.patient[chosen],
            self.fold[chosen],
            self.source[chosen],
        )

    def write(self, path: Path) -> None:
        """Keep the windows in a file."""
        np.savez(path, **{name: getattr(self, name) for name in FIELDS})

    @staticmethod
    def read(path: Path) -> "Windows":
        """Read what `write` kept."""
        kept = np.load(path)
        return Windows(*(kept[name] for name in FIELDS))

    @staticmethod
    def join(parts: list["Windows"]) -> "Windows":
        """Put windows of several databases together."""
        return Windows(*(np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS))


FIELDS = ("leads", "real", "scaled", "patient", "fold", "source")


def cut(einthoven: Path, folder: Path, source: str, gain: float | None = None) -> np.ndarray:
    """Run `einthoven windows` on a folder; the array that it writes."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "windows.npy"
        command = [str(einthoven), "windows", str(folder), "--out", str(out)]
        if gain is not None:
            command += ["--gain", str(gain)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        print(f"{source}: {said.splitlines()[-1]}")
        return np.load(out)


def windows_of(rows: np.ndarray, source: str) -> Windows:
    """Keep the windows that have all leads, none flat or an artefact, and limb leads that agree."""
    samples = rows["samples"]
    spread = samples.std(axis=2)
    good = np.isfinite(samples).all(axis=(1, 2))
    good &= (spread.min(axis=1) > FLAT_MV) & (spread.max(axis=1) < MAX_MV)
    off = samples[:, 2] - (samples[:, 1] - samples[:, 0])
    good &= off.std(axis=1) < MAX_VIOLATION * spread[:, :3].max(axis=1)
    rows, samples = rows[good], samples[good]
    names = np.char.add(f"{source}/", np.char.decode(rows["record"]))
    patients = np.char.decode(rows["patient"])
    known = patients != ""
    patients = np.where(known, np.char.add(f"{source}/", patients), names)
    return Windows(
        leads=np.ascontiguousarray(samples[:, ROWS], dtype=np.float32),
        real=np.stack([rows["first"], rows["last"]], axis=1).astype(np.int64),
        scaled=np.ones(len(rows), dtype=bool),
        patient=patients,
        fold=rows["fold"].astype(np.int64),
        source=np.full(len(rows), source),
    )


def zscored(einthoven: Path, folder: Path, scaled: Windows) -> Windows:
    """Read `ptbxl-zscored`: 100 Hz, every lead scaled by itself; scales come from `scaled` ones."""
    rows, labels = cut_zscored(einthoven, folder)
    names = np.char.decode(rows["record"])
    leads, good = restore(rows["samples"], scaled.leads)
    return Windows(
        leads=leads[good],
        real=np.stack([rows["first"], rows["last"]], axis=1).astype(np.int64)[good],
        scaled=np.zeros(int(good.sum()), dtype=bool),
        patient=np.char.add("ptbxl-zscored/", names)[good],
        fold=np.array([fold_of(label) for label in labels])[good],
        source=np.full(int(good.sum()), "ptbxl-zscored"),
    )


def cut_zscored(einthoven: Path, folder: Path) -> tuple[np.ndarray, list[dict[str, str]]]:
    """Cut `ptbxl-zscored` as if a deviation were 1 mV; the array, and the row of `labels.csv` of each window."""
    signals = np.load(folder / "signals_100hz_int16.npy", mmap_mode="r")
    with (folder / "labels.csv").open(newline="") as table:
        labels = {label["ecg_id"]: label for label in csv.DictReader(table)}
    with tempfile.TemporaryDirectory() as scratch:
        for name, z in zip(labels, signals, strict=True):
            write_wfdb(Path(scratch), name, z)
        rows = cut(einthoven, Path(scratch), "ptbxl-zscored")
    return rows, [labels[name] for name in np.char.decode(rows["record"])]


def fold_of(label: dict[str, str]) -> int:
    """Tell the fold of a row of `labels.csv`: its splits are folds, 9 is for validation there, 10 is not in it."""
    return 1 if "train" in label["split"] else 9


def write_wfdb(folder: Path, name: str, z: np.ndarray) -> None:
    """Write hundredths of a z-score as a WFDB record of 1 mV per standard deviation."""
    adu = np.clip(z.astype(np.int32) * 10, -32767, 32767).astype("<i2")
    (folder / f"{name}.dat").write_bytes(adu.T.tobytes())
    lines = [f"{name} 12 100 {z.shape[1]}"]
    lines += [f"{name}.dat 16 1000/mV 16 0 0 0 0 {lead}" for lead in TWELVE]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
