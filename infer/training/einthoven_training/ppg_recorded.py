"""Real pulse waves: those of Challenge 2015, with labels from the ECG beside them; and shapes and noise cut from them.

Labels are weak: beats and their classes are the service's own (`einthoven annotate`), fibrillation is what the rhythm
model says of the ECG, so they are for training in small doses and for a look at how far synthesis carries.
"""

import csv
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import wfdb

from einthoven_training import rhythm
from einthoven_training.ppg_beats import AF, PAC, PVC, SECONDS, SINUS, SVT, VT, held_out, longest
from einthoven_training.ppg_prepare import prepared

RATE_HZ = 250
HOP = 2.5
# Fibrillation is believed above the one, its absence below the other.
SURE_AF, SURE_NOT = 0.85, 0.08
# An early beat comes before this share of the usual interval.
EARLY = 0.85


@dataclass
class Recorded:
    """Segments of real waves, [segment] each, and what was cut from records that are not held out."""

    # Prepared, [segment, 500].
    x: np.ndarray
    # -1 where there is none.
    label: np.ndarray
    # 1 usable, 0 not, 0.5 unknown.
    usable: np.ndarray
    source: np.ndarray
    held_out: np.ndarray
    # Mean pulses, [shape, 128] over one interval, and their durations, s.
    shapes: np.ndarray
    durations: np.ndarray
    # Stretches of noise at 100 Hz, [stretch, 1000], deviation 1.
    noise: np.ndarray

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        np.savez(path, **vars(self))

    @staticmethod
    def read(path: Path) -> "Recorded":
        """Read what `write` kept."""
        kept = np.load(path)
        return Recorded(**{name: kept[name] for name in kept.files})


def annotate(program: Path, folder: Path, out: Path) -> None:
    """Run `einthoven annotate` on the records that have a PLETH, once."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.hea")):
        if "PLETH" in path.read_text() and not (out / f"{path.stem}.ein").exists():
            record = str(path.with_suffix(""))
            subprocess.run([str(program), "annotate", "--out", str(out), record], check=True, stdout=subprocess.DEVNULL)


def fibrillation(program: Path, folder: Path, model: Path, kept: Path) -> dict[str, list[tuple[float, float, float]]]:
    """Ask the rhythm model of the ECG: by record, the probability of fibrillation from when to when."""
    data = rhythm.export(program, folder, kept)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    out: dict[str, list[tuple[float, float, float]]] = {}
    for k in range(len(data)):
        logits = session.run(None, {"stretch": data.x[k].astype(np.float32)[None, None]})[0][0]
        odds = np.exp(logits - logits.max())
        out.setdefault(str(data.record[k]), []).append((data.start[k], data.end[k], float(odds[1] / odds.sum())))
    return out


def read(folder: Path, annotations: Path, af: dict[str, list[tuple[float, float, float]]]) -> Recorded:
    """Read all records that have a PLETH."""
    with (folder / "ALARMS.csv").open(newline="") as table:
        alarms = {row["record"]: (row["alarm"], row["truth"] == "true") for row in csv.DictReader(table)}
    rows, shapes, durations, noise = [], [], [], []
    for path in sorted(annotations.glob("*.ein")):
        name = path.stem
        record = wfdb.rdrecord(str(folder / name))
        wave = record.p_signal[:, record.sig_name.index("PLETH")]
        found = wfdb.rdann(str(path.with_suffix("")), "ein")
        is_beat = np.isin(found.symbol, ["N", "S", "V", "Q", "F"])
        beats = found.sample[is_beat] / RATE_HZ
        kinds = np.array(found.symbol)[is_beat]
        source = f"cinc2015/{name}"
        out = held_out(source)
        seconds = len(wave) / RATE_HZ
        starts = np.arange(0, seconds - SECONDS + 0.01, HOP)
        for start in starts:
            piece = wave[int(start * RATE_HZ) : int((start + SECONDS) * RATE_HZ)]
            if not np.isfinite(piece).all() or np.ptp(piece) == 0:
                continue
            inside = (beats >= start) & (beats < start + SECONDS)
            # The last 10 s before an alarm are what it is about.
            near = alarms.get(name, ("", False)) if start + SECONDS > seconds - 2 else ("", False)
            label = label_of(beats[inside], kinds[inside], start, af.get(name, []), near)
            x = prepared(piece[None], RATE_HZ)[0]
            agrees = agreement(x, beats[inside] - start)
            usable = 1.0 if agrees > 0.8 else 0.0 if agrees < 0.3 and echo(x) < 0.4 else 0.5
            rows.append((x, label, usable, source, out))
            if usable == 0 and not out:
                noise.append(np.interp(np.arange(1000) / 100, np.arange(len(piece)) / RATE_HZ, piece))
        if not out:
            for shape, duration in mean_pulses(wave, beats, kinds):
                shapes.append(shape)
                durations.append(duration)
    x, label, usable, source, out = zip(*rows, strict=True)
    level = np.array(noise)
    level = level - level.mean(axis=1, keepdims=True)
    level /= level.std(axis=1, keepdims=True) + 1e-9
    return Recorded(
        np.array(x),
        np.array(label),
        np.array(usable),
        np.array(source),
        np.array(out),
        np.array(shapes),
        np.array(durations),
        level.astype(np.float32),
    )


def label_of(
    times: np.ndarray,
    kinds: np.ndarray,
    start: float,
    af: list[tuple[float, float, float]],
    near: tuple[str, bool],
) -> int:
    """Label a segment, -1 where nothing is sure enough."""
    if near == ("Ventricular_Tachycardia", True):
        return VT
    n = len(times)
    if n < 5 or near[1]:
        return -1
    middle = start + SECONDS / 2
    around = [p for first, last, p in af if first <= middle <= last and last - first > 20]
    if not around:
        return -1
    if min(around) > SURE_AF:
        return AF
    if max(around) > SURE_NOT or np.diff(times).max() > 2.5:
        return -1
    ventricular, early = kinds == "V", kinds == "S"
    rr = np.diff(times)
    if (ventricular | early).any() and not (rr[(ventricular | early)[1:]] < EARLY * np.median(rr)).any():
        return -1
    if longest(ventricular) >= 3 or (kinds == "Q").any() or longest(early) > 4:
        return -1
    if not ventricular.any() and not early.any():
        if (np.abs(rr / np.median(rr) - 1) > 0.25).any():
            return -1
        return SVT if np.median(rr) < 60 / 135 and rr.std() < 0.03 else SINUS
    if ventricular.sum() >= 3 * early.sum():
        return PVC
    return PAC if early.sum() >= 3 * ventricular.sum() else -1


def agreement(x: np.ndarray, beats: np.ndarray) -> float:
    """How alike the waves after the beats are: the median correlation with their mean; x is prepared."""
    if len(beats) < 5 or not x.any():
        return 0.0
    width = int(0.8 * min(0.9, float(np.median(np.diff(beats)))) * 50)
    starts = [round((beat + 0.1) * 50) for beat in beats]
    pieces = np.array([x[at : at + width] for at in starts if at + width <= len(x)])
    if len(pieces) < 4 or width < 8:
        return 0.0
    mean = np.median(pieces, axis=0)
    return float(np.median([np.corrcoef(piece, mean)[0, 1] if piece.std() > 1e-6 else 0.0 for piece in pieces]))


def echo(x: np.ndarray) -> float:
    """How alike a prepared wave is to itself a beat later."""
    x = x - x.mean()
    power = float((x**2).sum())
    if power == 0:
        return 0.0
    return max(float((x[lag:] * x[:-lag]).sum()) / power for lag in range(17, 76))


def mean_pulses(wave: np.ndarray, beats: np.ndarray, kinds: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Average pulses from foot to foot, in each third of a record where they are alike."""
    out = []
    for part in np.array_split(np.arange(1, len(beats) - 2), 3):
        pulses, durations = [], []
        for k in part:
            if set(kinds[k - 1 : k + 2]) != {"N"}:
                continue
            first, last = int((beats[k] + 0.05) * RATE_HZ), int((beats[k + 1] + 0.05) * RATE_HZ)
            reach = int(0.35 * RATE_HZ)
            if last + reach > len(wave) or not np.isfinite(wave[first : last + reach]).all():
                continue
            first += int(np.argmin(wave[first : first + reach]))
            last += int(np.argmin(wave[last : last + reach]))
            if not 0.35 * RATE_HZ < last - first < 1.6 * RATE_HZ:
                continue
            pulse = np.interp(np.linspace(0, 1, 128), np.linspace(0, 1, last - first), wave[first:last])
            pulse = pulse - np.linspace(pulse[0], pulse[-1], 128)
            if pulse.max() > 0:
                pulses.append(pulse / pulse.max())
                durations.append((last - first) / RATE_HZ)
        if len(pulses) < 10:
            continue
        mean = np.median(pulses, axis=0)
        alike = np.median([np.corrcoef(pulse, mean)[0, 1] for pulse in pulses])
        if alike > 0.97 and mean.min() > -0.1 and 6 < mean.argmax() < 75:
            out.append((np.maximum(mean / mean.max(), 0), float(np.median(durations))))
    return out
