"""Twelve-lead recordings as the models see them: [lead, sample], mV, 250 Hz, 0.5-40 Hz.

Every reader takes a whole database or any part of one, and works on the records it finds.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import signal

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
RATE = 250
BAND_HZ = (0.5, 40.0)
# Two seconds of taps: half power at 0.5 Hz within 0.4 Hz.
N_TAPS = 501


@dataclass(frozen=True)
class Record:
    """One recording: its name, and its twelve leads as [lead, sample] in mV."""

    name: str
    leads: np.ndarray


def read_wfdb16(header: Path) -> tuple[np.ndarray, float]:
    """Read a twelve-lead record in WFDB format 16: [lead, sample] in mV, and its rate in Hz."""
    lines = [line for line in header.read_text().splitlines() if not line.startswith("#")]
    _, n_signals, rate, *_ = lines[0].split()
    rows = [line.split() for line in lines[1 : 1 + int(n_signals)]]
    if {row[1] for row in rows} != {"16"} or {row[0] for row in rows} != {rows[0][0]}:
        raise ValueError(f"{header}: only one file in WFDB format 16 is read here")
    adu = np.fromfile(header.parent / rows[0][0], dtype="<i2").reshape(-1, len(rows)).T
    gain, baseline = [], []
    for row in rows:
        calibration = row[2].split("/")[0]
        adu_per_mv, _, at_zero = calibration.partition("(")
        gain.append(float(adu_per_mv))
        baseline.append(float(at_zero.rstrip(")") or row[4]))
    mv = (adu - np.array(baseline)[:, None]) / np.array(gain)[:, None]
    names = [row[8].upper() for row in rows]
    order = [names.index(lead.upper()) for lead in LEADS]
    return mv[order], float(rate)


def prepare(mv: np.ndarray, rate: float) -> np.ndarray:
    """Bring [lead, sample] in mV to 250 Hz and 0.5-40 Hz, without delay.

    The filter is a linear-phase FIR with its delay taken off, the response of the service's window
    path; ends are extended by reflection. Once `einthoven windows` cuts training windows, they
    come from the service's own chain instead.
    """
    if rate != RATE:
        mv = signal.resample_poly(mv, RATE, int(rate), axis=1, padtype="line")
    taps = signal.firwin(N_TAPS, BAND_HZ, pass_zero=False, fs=RATE)
    half = N_TAPS // 2
    padded = np.pad(mv, ((0, 0), (half, half)), mode="reflect", reflect_type="odd")
    return signal.fftconvolve(padded, taps[None, :], mode="valid", axes=1)


def ptbxl(directory: Path, folds: range) -> list[Record]:
    """Read the PTB-XL records of the given folds. A patient is in one fold only."""
    with (directory / "ptbxl_database.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    fold_of = {}
    for row in rows:
        fold = fold_of.setdefault(row["patient_id"], row["strat_fold"])
        if fold != row["strat_fold"]:
            raise ValueError(f"patient {row['patient_id']} is in folds {fold} and others")
    records = []
    for row in rows:
        header = directory / (row["filename_hr"] + ".hea")
        if int(row["strat_fold"]) in folds and header.exists():
            records.append(Record(row["ecg_id"], prepare(*read_wfdb16(header))))
    return records


def cinc2011(directory: Path) -> list[Record]:
    """Read the records of Challenge 2011 whose quality is acceptable and that have no flat lead."""
    with (directory / "quality.csv").open(newline="") as table:
        names = [row["record"] for row in csv.DictReader(table) if row["quality"] == "acceptable"]
    records = []
    for name in names:
        header = directory / f"{name}.hea"
        if header.exists():
            leads = prepare(*read_wfdb16(header))
            if leads.std(axis=1).min() > 0.005:
                records.append(Record(name, leads))
    return records
