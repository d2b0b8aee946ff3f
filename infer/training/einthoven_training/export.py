"""From a trained network to what ships: ONNX file, manifest, moments, parity fixture."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from einthoven_training import data
from einthoven_training.leads import EIGHT
from einthoven_training.model import N_LEADS, N_SAMPLES, N_STEPS, Network, Shipped

NAME = "vae-12"
VERSION = "1.0.0"
RATE_HZ = 250.0
LICENCE = "CC BY 4.0 and ODC-BY 1.0"
# tract and onnxruntime may differ by so much, mV.
PARITY_MV = 1e-5


def write(
    network: Network,
    sets: dict[tuple[str, ...], dict],
    train: data.Windows,
    training_data: str,
    folder: Path,
    golden: Path | None,
) -> None:
    """Write everything that ships."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.onnx"
    shipped = Shipped(network).eval()
    x = torch.zeros(1, 2 * N_LEADS, N_SAMPLES)
    x[:, [1, 2, 6]] = torch.randn(1, 3, N_SAMPLES)
    x[:, [N_LEADS + 1, N_LEADS + 2, N_LEADS + 6]] = 1.0
    write_onnx(shipped, x, path, ["measured"], ["leads", "deviations", "score"])
    write_manifest(path, sets, training_data)
    write_moments(train, folder / "moments.csv")
    if golden:
        write_golden(path, golden)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def write_onnx(module: torch.nn.Module, x: torch.Tensor, path: Path, inputs: list[str], outputs: list[str]) -> None:
    """Write a network as ONNX, the same bytes for the same weights."""
    torch.onnx.export(module, (x,), path, input_names=inputs, output_names=outputs, opset_version=17, dynamo=False)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    model.producer_name = "einthoven-training"
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_checked(module: torch.nn.Module, x: torch.Tensor, path: Path, names: tuple[str, str], parity: float) -> str:
    """Write a network of one input and one output if onnxruntime says the same as PyTorch; the hash of the file."""
    write_onnx(module, x, path, [names[0]], [names[1]])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        difference = np.abs(session.run(None, {names[0]: x.numpy()})[0] - module(x).numpy()).max()
    if difference > parity:
        raise SystemExit(f"onnxruntime and PyTorch differ by {difference}")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_manifest(path: Path, sets: dict[tuple[str, ...], dict], training_data: str) -> None:
    """Write the manifest beside the ONNX file."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def names(leads: tuple[str, ...]) -> str:
        return ", ".join(f'"{lead}"' for lead in leads)

    def numbers(values: list[float]) -> str:
        return ", ".join(f"{value:.6g}" if value else "0.0" for value in map(float, values))

    text = f"""\
# Made by `python -m einthoven_training.train`; figures in docs/models.md.
name = "{NAME}"
version = "{VERSION}"
kind = "reconstruct"
licence = "{LICENCE}"
training_data = "{training_data}"

[onnx]
file = "{path.name}"
sha256 = "{digest}"

# What the model sees: mV, 0.5-40 Hz without delay.
[window]
rate_hz = {RATE_HZ}
n_samples = {N_SAMPLES}

[input]
layout = "[1, lead + mask, sample]"
leads = [{names(EIGHT)}]

[output]
layout = "[1, lead, sample]"
leads = [{names(EIGHT)}]
n_bands = {N_STEPS}
"""
    for observed, facts in sets.items():
        text += f"""
[[sets]]
observed = [{names(observed)}]
band = [{numbers(facts["band"])}]
expected_error = [{numbers(facts["expected_error"])}]
novelty = [{numbers(facts["novelty"])}]
novelty_limit = {facts["novelty_limit"]:.6g}
"""
    path.with_suffix(".toml").write_text(text)


def write_moments(train: data.Windows, path: Path) -> None:
    """Write the second moments of the training windows, for the least-squares baseline: [8, 8], mV squared."""
    moments = np.zeros((N_LEADS, N_LEADS))
    for leads, (first, last) in zip(train.leads.astype(np.float64), train.real, strict=True):
        part = leads[:, first:last]
        moments += part @ part.T / part.shape[1] / len(train)
    rows = (", ".join(f"{value:.9g}" for value in row) for row in moments)
    path.write_text("\n".join(rows) + "\n")


def write_golden(path: Path, folder: Path) -> None:
    """Write the parity fixture: II, V1, V5 in uV as int16, and what onnxruntime makes of them as float32.

    The input is seeded: smooth noise with steep spikes. Of the leads, every eighth sample is kept, of the deviations
    every fourth; then the two numbers about the window.
    """
    rng = np.random.default_rng(1903)
    smooth = np.cumsum(rng.normal(0, 20, (3, N_SAMPLES)), axis=1)
    smooth -= smooth.mean(axis=1, keepdims=True)
    smooth[:, 100::213] += np.array([[1200], [-800], [900]])
    microvolts = np.clip(smooth, -5000, 5000).astype("<i2")
    x = np.zeros((1, 2 * N_LEADS, N_SAMPLES), dtype=np.float32)
    x[0, [1, 2, 6]] = microvolts.astype(np.float32) / np.float32(1000)
    x[0, [N_LEADS + 1, N_LEADS + 2, N_LEADS + 6]] = 1.0
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    leads, deviations, score = session.run(None, {"measured": x})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.input.i16").write_bytes(microvolts.tobytes())
    kept = np.concatenate([leads[0, :, ::8].ravel(), deviations[0, :, ::4].ravel(), score[0]])
    (folder / f"{NAME}.output.f32").write_bytes(kept.astype("<f4").tobytes())
