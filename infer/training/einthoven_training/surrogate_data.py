"""Pulses beside beats: what the surrogate learns from, of Challenge 2015.

Beats, onsets of pulses and the seconds in which either can be believed are the chain's own (`einthoven evaluate pulse
--json --lists`). Waves are prepared as `ppg_prepare` does, in windows of 10 s each 5 s; the ECG is lead II, 0.5 to
40 Hz without delay. The clock of the PPG lags that of the ECG by what nobody knows, so a beat is looked for the
record's own median time before a pulse.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb
from scipy.signal import butter, filtfilt

from einthoven_training.ppg_beats import hash_of
from einthoven_training.ppg_prepare import N_SAMPLES as WINDOW
from einthoven_training.ppg_prepare import RATE_HZ as WAVE_HZ
from einthoven_training.ppg_prepare import prepared

RATE_HZ = 250
SECONDS = 10
HOP = 5
FOLDS = 5
TOLERANCE = 0.15
# What a beat is: so many samples at 125 Hz, so many of them before the R peak.
BEAT_HZ = 125
N_BEAT, BEFORE = 116, 40
# Around the R peak nothing is stretched.
RIGID = 0.06
# The intervals that stretch the rest, s.
INTERVALS = (0.3, 2.0)
# What the encoder sees around an onset: 2.56 s of the wave, of the onsets, and the intervals before and after.
N_AROUND, N_CHANNELS = 128, 4


@dataclass
class Pulses:
    """Pulses with the beat that each comes from."""

    # What is seen, [pulse, channel, sample].
    x: np.ndarray
    # The beat at 125 Hz, mV, stretched to an interval of a second.
    beat: np.ndarray
    # How much later the beat is than the record's median time before the onset, s.
    late: np.ndarray
    interval: np.ndarray
    record: np.ndarray
    fold: np.ndarray


def fold_of(record: str) -> int:
    """The fold of a record; by name, so that nothing moves when records are added."""
    return hash_of(f"cinc2015/{record}") % FOLDS


def axis(interval: np.ndarray) -> np.ndarray:
    """When the samples of a beat are due, s from the R peak, [..., N_BEAT]: what is not QRS is stretched as QT is."""
    tau = (np.arange(N_BEAT) - BEFORE) / BEAT_HZ
    rigid = np.clip(tau, -RIGID, RIGID)
    return rigid + (tau - rigid) * np.sqrt(np.clip(interval, *INTERVALS))[..., None]


def seen(wave: np.ndarray, onsets: np.ndarray, at: float, before: float, after: float) -> np.ndarray:
    """What the encoder sees of the pulse that begins at `at`; all in s of a prepared window."""
    x = np.zeros((N_CHANNELS, N_AROUND), dtype=np.float32)
    places = at * WAVE_HZ + np.arange(N_AROUND) - N_AROUND // 2
    x[0] = np.interp(places, np.arange(len(wave)), wave, left=0.0, right=0.0)
    for onset in onsets:
        x[1] += np.maximum(0.0, 1.0 - np.abs(places - onset * WAVE_HZ))
    x[2], x[3] = before, after
    return x


def intervals(onsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The intervals before and after each onset, s; the only one there is at the ends, a second without any."""
    if len(onsets) < 2:
        return np.ones(len(onsets)), np.ones(len(onsets))
    steps = np.clip(np.diff(onsets), *INTERVALS)
    return np.concatenate([steps[:1], steps]), np.concatenate([steps, steps[-1:]])


def pairs(due: np.ndarray, onsets: np.ndarray) -> dict[int, int]:
    """The place of the beat of each onset: nearest pairs first, each in one at most."""
    near = [(abs(d - o), i, j) for i, d in enumerate(due) for j, o in enumerate(onsets) if abs(d - o) <= TOLERANCE]
    beat_of: dict[int, int] = {}
    taken = set()
    for _, i, j in sorted(near):
        if i not in taken and j not in beat_of:
            taken.add(i)
            beat_of[j] = i
    return beat_of


def lead_two(samples: np.ndarray) -> np.ndarray:
    """0.5 to 40 Hz, without delay; what is missing is held."""
    known = np.isfinite(samples)
    last = np.maximum.accumulate(np.where(known, np.arange(len(samples)), 0))
    held = np.nan_to_num(samples[last])
    return filtfilt(*butter(2, (0.5, 40.0), "bandpass", fs=RATE_HZ), held)


def read(folder: Path, lists: Path) -> Pulses:
    """Read every record that has lead II, and pulses and beats that can be believed."""
    rows = []
    for line in json.loads(lists.read_text())["per_record"]:
        record = wfdb.rdrecord(str(folder / line["record"]))
        if "II" not in record.sig_name or record.fs != RATE_HZ:
            continue
        ecg = lead_two(record.p_signal[:, record.sig_name.index("II")])
        pleth = record.p_signal[:, record.sig_name.index("PLETH")]
        pleth = np.where(np.isfinite(pleth), pleth, np.nanmean(pleth))
        lag = line["transit_ms"] / 1000
        due, onsets = np.array(line["due"]), np.array(line["onsets"])
        good, usable = set(line["good"]), set(line["usable"])
        beat_of = pairs(due, onsets)
        fold = fold_of(line["record"])
        for start in range(0, int(len(pleth) / RATE_HZ) - SECONDS + 1, HOP):
            inside = np.flatnonzero((onsets >= start) & (onsets < start + SECONDS))
            if not any(j in beat_of for j in inside):
                continue
            wave = prepared(pleth[None, start * RATE_HZ : (start + SECONDS) * RATE_HZ], RATE_HZ)[0]
            before, after = intervals(onsets[inside])
            for k, j in enumerate(inside):
                if j not in beat_of or int(onsets[j]) not in usable or int(onsets[j] - lag) not in good:
                    continue
                r_peak = due[beat_of[j]] - lag
                places = (r_peak + axis(before[k])) * RATE_HZ
                if places[0] < 0 or places[-1] > len(ecg) - 1:
                    continue
                beat = np.interp(places, np.arange(len(ecg)), ecg)
                x = seen(wave, onsets[inside] - start, onsets[j] - start, before[k], after[k])
                late = r_peak - (onsets[j] - lag)
                rows.append((x, beat.astype(np.float32), late, before[k], line["record"], fold))
    assert WINDOW == SECONDS * WAVE_HZ
    x, beat, late, interval, name, fold = (np.array(column) for column in zip(*rows, strict=True))
    return Pulses(x, beat, late.astype(np.float32), interval.astype(np.float32), name, fold)
