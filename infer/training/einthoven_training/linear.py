"""Fit the least-squares model from II, V1, V5 to I, V2, V3, V4, V6 and export it.

Each missing lead is a short FIR of the measured ones: `python -m einthoven_training.linear DIR
--out infer/models`, where DIR is PTB-XL or any part of it. Prints the figures of the model card.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from einthoven_training.recordings import LEADS, RATE, Record, cinc2011, ptbxl

NAME = "linear-3to12"
VERSION = "1.0.0"
OBSERVED = ("II", "V1", "V5")
MISSING = ("I", "V2", "V3", "V4", "V6")
DERIVED = ("III", "aVR", "aVL", "aVF")
N_SAMPLES = 2560
# Taps per lead pair: the smallest number within 0.002 of the best mean r on fold 8 (printed).
N_TAPS = 5
# Share of the mean power that is added to the diagonal.
RIDGE = 1e-3


def taps_of(leads: np.ndarray, n_taps: int) -> np.ndarray:
    """Stack the observed leads shifted by each tap: [tap * observed, sample]."""
    observed = leads[[LEADS.index(lead) for lead in OBSERVED]]
    half = n_taps // 2
    padded = np.pad(observed, ((0, 0), (half, half)))
    n_samples = leads.shape[1]
    return np.concatenate([padded[:, tap : tap + n_samples] for tap in range(n_taps)])


def fit(records: list[Record], n_taps: int) -> np.ndarray:
    """Solve the ridge normal equations: weights [missing, tap * observed].

    Every record counts with the inverse of its power, so that a few tall ones do not decide.
    """
    rows = [LEADS.index(lead) for lead in MISSING]
    gram = np.zeros((n_taps * len(OBSERVED),) * 2)
    cross = np.zeros((len(MISSING), n_taps * len(OBSERVED)))
    for record in records:
        design = taps_of(record.leads, n_taps)
        power = record.leads.var()
        gram += design @ design.T / power
        cross += record.leads[rows] @ design.T / power
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, cross.T).T


def complete(leads: np.ndarray, missing: np.ndarray) -> dict[str, np.ndarray]:
    """Join the model's leads and the limb leads that follow from I and II."""
    out = dict(zip(MISSING, missing, strict=True))
    i, ii = out["I"], leads[LEADS.index("II")]
    out |= {"III": ii - i, "aVR": -(i + ii) / 2, "aVL": i - ii / 2, "aVF": ii - i / 2}
    return out


def score(records: list[Record], weights: np.ndarray, n_taps: int) -> dict[str, np.ndarray]:
    """Score each record: per lead [record, (Pearson r, RMSE in mV)]."""
    scores = {lead: [] for lead in LEADS if lead in MISSING + DERIVED}
    for record in records:
        found = complete(record.leads, weights @ taps_of(record.leads, n_taps))
        for lead, rows in scores.items():
            truth = record.leads[LEADS.index(lead)]
            r = np.corrcoef(found[lead], truth)[0, 1]
            rows.append((r, np.sqrt(np.mean((found[lead] - truth) ** 2))))
    return {lead: np.array(rows) for lead, rows in scores.items()}


def mean_r(scores: dict[str, np.ndarray]) -> float:
    """Mean Pearson r over leads and records."""
    return float(np.mean([rows[:, 0] for rows in scores.values()]))


def report(title: str, scores: dict[str, np.ndarray]) -> None:
    """Print one table of the model card."""
    n_records = len(next(iter(scores.values())))
    print(f"\n{title}: {n_records} records\n")
    print("| lead | mean r | median r | mean RMSE, mV | median RMSE, mV |")
    print("|---|---|---|---|---|")
    for lead, rows in scores.items():
        figures = (*rows.mean(axis=0), *np.median(rows, axis=0))
        r, rmse, r50, rmse50 = figures
        print(f"| {lead} | {r:.3f} | {r50:.3f} | {rmse:.3f} | {rmse50:.3f} |")
    both = np.concatenate(list(scores.values()))
    (r, rmse), (r50, rmse50) = both.mean(axis=0), np.median(both, axis=0)
    print(f"| all | {r:.3f} | {r50:.3f} | {rmse:.3f} | {rmse50:.3f} |")


def export(weights: np.ndarray, path: Path) -> None:
    """Write the weights as one Conv1d: f32 [1, 3, 2560] -> [1, 5, 2560]."""
    # Columns are (tap, observed); ONNX wants [output, input, tap] and, like us, correlates.
    kernel = weights.reshape(len(MISSING), N_TAPS, len(OBSERVED)).transpose(0, 2, 1)
    kernel = np.ascontiguousarray(kernel, dtype=np.float32)
    shapes = {"measured": len(OBSERVED), "missing": len(MISSING)}
    measured, missing = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n_leads, N_SAMPLES])
        for name, n_leads in shapes.items()
    )
    half = N_TAPS // 2
    node = helper.make_node(
        "Conv", ["measured", "kernel"], ["missing"], kernel_shape=[N_TAPS], pads=[half, half]
    )
    graph = helper.make_graph(
        [node], NAME, [measured], [missing], [numpy_helper.from_array(kernel, "kernel")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.producer_name = "einthoven-training"
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_manifest(onnx_path: Path, n_records: int) -> None:
    """Write the manifest beside the ONNX file."""
    digest = hashlib.sha256(onnx_path.read_bytes()).hexdigest()

    def names(leads: tuple[str, ...]) -> str:
        return ", ".join(f'"{lead}"' for lead in leads)

    text = f"""\
# Made by `python -m einthoven_training.linear`; figures in README.md beside it.
name = "{NAME}"
version = "{VERSION}"
kind = "reconstruct"
licence = "CC BY 4.0"
training_data = "PTB-XL (CC BY 4.0), {n_records} records of folds 1-8"

[onnx]
file = "{onnx_path.name}"
sha256 = "{digest}"

# What the model sees: mV, 0.5-40 Hz without delay.
[window]
rate_hz = {float(RATE)}
n_samples = {N_SAMPLES}

[input]
layout = "[1, lead, sample]"
leads = [{names(OBSERVED)}]
observed = [{names(OBSERVED)}]
fill = 0.0

[output]
layout = "[1, lead, sample]"
leads = [{names(MISSING)}]

# mV in, mV out.
[normalisation]
kind = "none"
"""
    onnx_path.with_suffix(".toml").write_text(text)


def write_golden(onnx_path: Path, directory: Path) -> None:
    """Write the parity fixture: input in uV as int16, and what onnxruntime makes of it as float32.

    The input is seeded: three leads of smooth noise with steep spikes. Of the output, every
    eighth sample and the four at either end are kept.
    """
    rng = np.random.default_rng(1903)
    smooth = np.cumsum(rng.normal(0, 20, (len(OBSERVED), N_SAMPLES)), axis=1)
    smooth -= smooth.mean(axis=1, keepdims=True)
    smooth[:, 100::213] += np.array([[1200], [-800], [900]])
    microvolts = np.clip(smooth, -5000, 5000).astype("<i2")
    session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    batch = (microvolts.astype(np.float32) / np.float32(1000))[None]
    (out,) = session.run(None, {"measured": batch})
    kept = golden_samples()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{NAME}.input.i16").write_bytes(microvolts.tobytes())
    (directory / f"{NAME}.output.f32").write_bytes(out[0][:, kept].astype("<f4").tobytes())


def golden_samples() -> np.ndarray:
    """List the samples that the parity fixture keeps."""
    ends = [*range(4), *range(N_SAMPLES - 4, N_SAMPLES)]
    return np.unique([*range(0, N_SAMPLES, 8), *ends])


def main() -> None:
    """Fit, print the figures, export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="PTB-XL, or a part of it")
    parser.add_argument("--out", type=Path, required=True, help="where model and manifest go")
    parser.add_argument("--golden", type=Path, help="where the parity fixture goes")
    parser.add_argument("--external", type=Path, help="Challenge 2011, only ever tested on")
    arguments = parser.parse_args()

    # The number of taps is chosen on fold 8, the figures come from fold 9.
    train, validation = (ptbxl(arguments.directory, folds) for folds in (range(1, 8), range(8, 9)))
    if not train or not validation:
        raise SystemExit(f"{arguments.directory}: no records of folds 1-7 and 8")
    print(f"taps, fitted on {len(train)} records, tested on {len(validation)} of fold 8")
    for n_taps in (1, 3, 5, 7, 9):
        r = mean_r(score(validation, fit(train, n_taps), n_taps))
        print(f"  {n_taps}: mean r {r:.4f}")

    train += validation
    weights = fit(train, N_TAPS)
    print(f"\n{NAME} {VERSION}: {N_TAPS} taps, fitted on {len(train)} records")
    held_out = ptbxl(arguments.directory, range(9, 10))
    if held_out:
        report("PTB-XL fold 9", score(held_out, weights, N_TAPS))
    if arguments.external:
        report("Challenge 2011", score(cinc2011(arguments.external), weights, N_TAPS))

    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"{NAME}.onnx"
    export(weights, path)
    write_manifest(path, len(train))
    if arguments.golden:
        write_golden(path, arguments.golden)


if __name__ == "__main__":
    main()
