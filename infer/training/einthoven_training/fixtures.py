"""Models and vectors that the Rust tests are checked against.

    python -m einthoven_training.fixtures ../golden

writes a classifier small enough to know its answers by hand, and what SciPy makes of a signal. Seeded: the same bytes
each time.
"""

import argparse
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy import signal

from einthoven_training.leads import TWELVE

# The middle of a window of 2560.
N_SAMPLES = 2500
# Label, its text, and the lead whose height it is about.
LABELS = (("tall_v1", "Tall in V1", "V1"), ("tall_ii", "Tall in II", "II"), ("even", "Nothing to say", None))


def write_tallest(folder: Path) -> None:
    """Write a classifier whose logit of a label is four times the height of one lead, less 4.

    Its embedding is the heights.
    """
    weights = np.zeros((len(TWELVE), len(LABELS)), dtype=np.float32)
    offsets = np.zeros(len(LABELS), dtype=np.float32)
    for k, (_, _, lead) in enumerate(LABELS):
        if lead:
            weights[TWELVE.index(lead), k] = 4.0
            offsets[k] = -4.0
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["leads"], ["heights"], axes=[2], keepdims=0),
            helper.make_node("Gemm", ["heights", "weights", "offsets"], ["logits"]),
        ],
        "tallest",
        # The batch is left open, as exporters like to.
        [helper.make_tensor_value_info("leads", TensorProto.FLOAT, ["batch", len(TWELVE), N_SAMPLES])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)]),
            helper.make_tensor_value_info("heights", TensorProto.FLOAT, ["batch", len(TWELVE)]),
        ],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(offsets, "offsets")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    model.producer_name = "einthoven-training"
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    (folder / "tallest.onnx").write_bytes(data)
    labels = "".join(
        f"""
[[labels]]
name = "{name}"
text = "{text}"
calibration = [1.0, 0.0]
calibration_reconstructed = [0.5, 0.0]
threshold = 0.5
conformal = 0.3
"""
        for name, text, _ in LABELS
    )
    high = [[1.0 if TWELVE[k] == lead else 0.1 for k in range(12)] for lead in ("II", "V1")]
    prototypes = "".join(
        f"""
[[prototypes]]
recording = "tallest/{lead}"
labels = ["{name}"]
embedding = {embedding}
"""
        for lead, name, embedding in zip(("II", "V1"), ("tall_ii", "tall_v1"), high, strict=True)
    )
    (folder / "tallest.toml").write_text(f"""\
# Made by `python -m einthoven_training.fixtures`.
name = "tallest"
version = "1.0.0"
kind = "classify"
licence = "CC0-1.0"
training_data = "none"

[onnx]
file = "tallest.onnx"
sha256 = "{sha256(data).hexdigest()}"

[run]
when = "window"

[input]
layout = "[1, lead, sample]"
leads = [{", ".join(f'"{lead}"' for lead in TWELVE)}]
rate_hz = 250.0
n_samples = {N_SAMPLES}

[prepare]
normalise = "none"

[output]
activation = "sigmoid"
embedding = {len(TWELVE)}
{labels}{prototypes}""")


def write_zero_phase(folder: Path) -> None:
    """Write a signal of 1000 samples, and what SciPy's notch at 500 Hz and band-pass at 500 and 100 Hz make of it."""
    rng = np.random.default_rng(67)
    noise = np.cumsum(rng.normal(0, 0.05, 1000))
    noise[::180] += 1.0
    noise += 0.2 * np.sin(2 * np.pi * 50 / 500 * np.arange(1000))
    given = noise.astype("<f4")
    notch = signal.filtfilt(*signal.iirnotch(50, 30, 500), given.astype(float))
    band = [signal.filtfilt(*signal.butter(4, [0.67, 40], "bandpass", fs=fs), given.astype(float)) for fs in (500, 100)]
    rows = np.stack([given, notch, *band])
    (folder / "zero_phase.f32").write_bytes(rows.astype("<f4").tobytes())


def write_prepared(folder: Path) -> None:
    """Write a window of one lead, and what the preparation of ECGFounder makes of its middle 10 s with SciPy.

    250 to 500 Hz, notch 50 Hz, 0.67 to 40 Hz, running median of 0.4 s taken away, z-score.
    """
    rng = np.random.default_rng(500)
    t = np.arange(2560) / 250
    lead = sum(
        height * np.exp(-(((t + 0.3) % 0.83 - at) ** 2) / (2 * width**2))
        for height, at, width in ((0.12, 0.2, 0.02), (-0.1, 0.34, 0.009), (1.1, 0.37, 0.011), (0.3, 0.6, 0.04))
    )
    lead += 0.2 * np.sin(2 * np.pi * 0.2 * t) + rng.normal(0, 0.05, t.size)
    lead = signal.sosfiltfilt(signal.butter(4, [0.5, 40], "bandpass", fs=250, output="sos"), lead)
    given = lead.astype("<f4")
    twice = signal.resample_poly(given.astype(float), 2, 1, window=("kaiser", 9.0), padtype="edge")[60:5060]
    prepared = signal.filtfilt(*signal.iirnotch(50, 30, 500), twice)
    prepared = signal.filtfilt(*signal.butter(4, [0.67, 40], "bandpass", fs=500), prepared)
    prepared -= signal.medfilt(prepared, 201)
    prepared = (prepared - prepared.mean()) / prepared.std()
    (folder / "prepared.input.f32").write_bytes(given.tobytes())
    (folder / "prepared.output.f32").write_bytes(prepared.astype("<f4").tobytes())


def main() -> None:
    """Write everything into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    write_tallest(folder)
    write_zero_phase(folder)
    write_prepared(folder)


if __name__ == "__main__":
    main()
