"""From a trained classifier to what ships: ONNX file, manifest, parity fixture."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from einthoven_training.classifier import N_EMBEDDING, N_LEADS, N_SAMPLES, RATE_HZ, Classifier, prepared
from einthoven_training.export import write_onnx
from einthoven_training.leads import TWELVE

NAME = "superclass-12"
VERSION = "1.0.0"
LICENCE = "CC BY 4.0 and ODC-BY 1.0"
WINDOW_SAMPLES = 2560
# What a person reads, and SNOMED CT's concept where there is one that says no more and no less.
TEXTS = {
    "NORM": ("Normal waves, whatever the rhythm", None),
    "MI": ("Myocardial infarction", 22298006),
    "STTC": ("ST-T change", None),
    "CD": ("Conduction disturbance", 44808001),
    "HYP": ("Hypertrophy", None),
}


@dataclass
class Label:
    """A class, and what turns its logit into a finding."""

    name: str
    calibration: tuple[float, float]
    calibration_reconstructed: tuple[float, float]
    threshold: float
    conformal: float


@dataclass
class Prototype:
    """A training recording that a finding can point to."""

    recording: str
    labels: list[str]
    # Of length one.
    embedding: np.ndarray


def write(
    network: Classifier,
    labels: list[Label],
    prototypes: list[Prototype],
    training_data: str,
    folder: Path,
    golden: Path | None,
) -> None:
    """Write everything that ships."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.onnx"
    write_onnx(network.eval(), torch.randn(1, N_LEADS, N_SAMPLES), path, ["leads"], ["logits", "embedding"])
    write_manifest(path, labels, prototypes, training_data)
    if golden:
        write_golden(path, golden)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def write_manifest(path: Path, labels: list[Label], prototypes: list[Prototype], training_data: str) -> None:
    """Write the manifest beside the ONNX file."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def names(words: tuple[str, ...] | list[str]) -> str:
        return "[" + ", ".join(f'"{word}"' for word in words) + "]"

    def numbers(values: tuple[float, ...] | np.ndarray, digits: int = 6) -> str:
        return "[" + ", ".join(repr(float(f"{value:.{digits}g}")) for value in values) + "]"

    text = f"""\
# Made by `python -m einthoven_training.classify`; figures in docs/models.md.
name = "{NAME}"
version = "{VERSION}"
kind = "classify"
licence = "{LICENCE}"
training_data = "{training_data}"

[onnx]
file = "{path.name}"
sha256 = "{digest}"

[run]
when = "window"

# The middle of the window: mV, 0.5-40 Hz without delay.
[input]
layout = "[1, lead, sample]"
leads = {names(TWELVE)}
rate_hz = {RATE_HZ}
n_samples = {N_SAMPLES}

[prepare]
normalise = "lead"

[output]
activation = "sigmoid"
embedding = {N_EMBEDDING}
"""
    for label in labels:
        words, snomed = TEXTS[label.name]
        text += f'\n[[labels]]\nname = "{label.name.lower()}"\ntext = "{words}"\n'
        if snomed:
            text += f"snomed = {snomed}\n"
        text += f"calibration = {numbers(label.calibration)}\n"
        text += f"calibration_reconstructed = {numbers(label.calibration_reconstructed)}\n"
        text += f"threshold = {label.threshold:.4f}\nconformal = {label.conformal:.4f}\n"
    for prototype in prototypes:
        text += f'\n[[prototypes]]\nrecording = "{prototype.recording}"\n'
        text += f"labels = {names([name.lower() for name in prototype.labels])}\n"
        text += f"embedding = {numbers(prototype.embedding, 4)}\n"
    path.with_suffix(".toml").write_text(text)


def write_golden(path: Path, folder: Path) -> None:
    """Write the parity fixture: inputs, and what onnxruntime makes of them: five logits, then the embedding, float32.

    `.window.i16` is [12, 2560], uV at 250 Hz: seeded beats, different in each lead, on a slow wave. `.window.f32` is
    the answer when it is prepared as in training, for a test of the whole way that allows for another resampler.
    `.input.i16` is [12, 960], the same as it goes into the network, rounded to thousandths; `.output.f32` is the answer
    to exactly that.
    """
    rng = np.random.default_rng(1903)
    t = np.arange(WINDOW_SAMPLES) / 250
    phase = t % 0.85
    waves = [np.exp(-(((phase - at) / width) ** 2)) for at, width in ((0.3, 0.014), (0.14, 0.03), (0.6, 0.06))]
    sizes = rng.normal(0, [900.0, 90.0, 250.0], (N_LEADS, 3))
    slow = rng.normal(0, 40, (N_LEADS, 1)) * np.sin(2 * np.pi * 0.6 * t + rng.uniform(0, 6, (N_LEADS, 1)))
    microvolts = np.clip(np.rint(sizes @ np.stack(waves) + slow), -5000, 5000).astype("<i2")
    x = prepared(microvolts[None].astype(np.float32) / np.float32(1000))
    thousandths = np.clip(np.rint(x * 1000), -32767, 32767).astype("<i2")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def answer(leads: np.ndarray) -> bytes:
        return np.concatenate([part[0] for part in session.run(None, {"leads": leads})]).astype("<f4").tobytes()

    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.window.i16").write_bytes(microvolts.tobytes())
    (folder / f"{NAME}.window.f32").write_bytes(answer(x))
    (folder / f"{NAME}.input.i16").write_bytes(thousandths.tobytes())
    (folder / f"{NAME}.output.f32").write_bytes(answer(thousandths.astype(np.float32) / np.float32(1000)))
