"""P, QRS and T of one lead of LUDB by NeuroKit2 (`dwt`), scored by the rules of `einthoven evaluate delineate`.

    python -m venv venv && venv/bin/pip install neurokit2 wfdb
    venv/bin/python tests/peers/delineate.py data/ludb [--lead ii] [--method dwt] [--einthoven PATH]

Each record is played twice on end and the second time counts, R peaks are NeuroKit's own; a wave is found
within 150 ms of one of the reference, only what lies from the first to the last annotated QRS counts, and SD
is that of a record, averaged (pooled in brackets). A record that NeuroKit fails on counts as nothing found. With `--einthoven` ours is
printed beside it: the weights that ship were fitted to LUDB, so for a fair figure of ours see the five folds of
`dsp/training/delineate.py`, which the README quotes.
"""

import argparse
import json
import pathlib
import subprocess
import warnings

import neurokit2 as nk
import numpy as np
import wfdb

TOLERANCE_SECONDS = 0.15
WAVES = {"P": ("p", "P"), "QRS": ("N", "R"), "T": ("t", "T")}


def reference(path, lead):
    """For each kind of wave its (onset, peak, offset), an end None where it is left out."""
    found = wfdb.rdann(str(path), lead)
    symbols, at = found.symbol, found.sample
    marks = {name: [] for name in WAVES}
    for k, symbol in enumerate(symbols):
        for name, (code, _) in WAVES.items():
            if symbol == code:
                onset = at[k - 1] if k > 0 and symbols[k - 1] == "(" else None
                offset = at[k + 1] if k + 1 < len(symbols) and symbols[k + 1] == ")" else None
                marks[name].append((onset, at[k], offset))
    return marks


def delineate(signal, hz, method):
    """The same for what NeuroKit finds, the second time."""
    twice = np.concatenate([signal, signal])
    clean = nk.ecg_clean(twice, sampling_rate=hz)
    _, peaks = nk.ecg_peaks(clean, sampling_rate=hz)
    peaks = np.asarray(peaks["ECG_R_Peaks"])
    _, waves = nk.ecg_delineate(clean, peaks, sampling_rate=hz, method=method)
    number = lambda value: None if value is None or np.isnan(value) else value - len(signal)
    found = {}
    for name, (_, letter) in WAVES.items():
        middle = peaks if letter == "R" else waves[f"ECG_{letter}_Peaks"]
        ends = zip(waves[f"ECG_{letter}_Onsets"], middle, waves[f"ECG_{letter}_Offsets"])
        ends = [tuple(map(number, wave)) for wave in ends]
        found[name] = [wave for wave in ends if wave[1] is not None and wave[1] >= 0]
    return found


def compare(marks, found, low, high, hz):
    tp = fn = 0
    onsets, offsets, left = [], [], list(found)
    for onset, peak, offset in marks:
        if not low <= peak <= high:
            continue
        near = min(left, key=lambda wave: abs(wave[1] - peak), default=None)
        if near is None or abs(near[1] - peak) > TOLERANCE_SECONDS * hz:
            fn += 1
            continue
        tp += 1
        left.remove(near)
        for errors, ours, theirs in [(onsets, near[0], onset), (offsets, near[2], offset)]:
            if ours is not None and theirs is not None:
                errors.append(1000 * (ours - theirs) / hz)
    fp = sum(low <= wave[1] <= high for wave in left)
    return tp, fn, fp, onsets, offsets


def line(name, se, ppv, ends):
    ends = "".join(f"{m:>9.1f}{f'{sd:.1f} ({pooled:.1f})':>16}" for m, sd, pooled in ends)
    print(f"{name:<5}{se:>8.2f}{ppv:>8.2f}{ends}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--lead", default="ii")
    parser.add_argument("--method", default="dwt")
    parser.add_argument("--einthoven")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    folder = args.dir / "data" if (args.dir / "data").is_dir() else args.dir
    tallies, failed = {name: [] for name in WAVES}, []
    paths = sorted(path.with_suffix("") for path in folder.glob("*.hea"))
    for path in paths:
        if not path.with_suffix(f".{args.lead}").exists():
            continue
        record = wfdb.rdrecord(str(path))
        signal = record.p_signal[:, [name.lower() for name in record.sig_name].index(args.lead)]
        marks = reference(path, args.lead)
        qrs = marks["QRS"]
        if not qrs:
            continue
        low = qrs[0][1] if qrs[0][0] is None else qrs[0][0]
        high = qrs[-1][1] if qrs[-1][2] is None else qrs[-1][2]
        try:
            found = delineate(np.nan_to_num(signal), int(record.fs), args.method)
        except Exception as error:  # a record that it cannot do counts as nothing found
            failed.append(f"{path.name}: {error}")
            found = {name: [] for name in WAVES}
        for name in WAVES:
            tallies[name].append(compare(marks[name], found[name], low, high, record.fs))
    print(f"neurokit2 {nk.__version__} {args.method}, lead {args.lead}, {len(tallies['P'])} records")
    print(f"{'wave':<5}{'Se':>8}{'+P':>8}{'onset':>9}{'SD':>16}{'offset':>9}{'SD':>16}")
    for name, rows in tallies.items():
        tp, fn, fp = (sum(row[k] for row in rows) for k in range(3))
        ends = []
        for k in (3, 4):
            pooled = np.concatenate([row[k] for row in rows])
            within = [np.std(row[k], ddof=1) for row in rows if len(row[k]) > 1]
            ends.append((pooled.mean(), np.mean(within), pooled.std(ddof=1)))
        line(name, 100 * tp / (tp + fn), 100 * tp / (tp + fp), ends)
    for reason in failed:
        print("nothing found:", reason)
    if args.einthoven:
        command = [args.einthoven, "evaluate", "delineate", str(args.dir), "--json"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        names = {name.lower(): waves for name, waves in answer["per_lead"].items()}
        print("einthoven")
        for name in WAVES:
            wave = names[args.lead][name.lower()]
            ends = [tuple(wave[f"{end}_{what}_ms"] for what in ("mean", "sd", "sd_pooled")) for end in ("onset", "offset")]
            line(name, wave["se"], wave["ppv"], ends)


if __name__ == "__main__":
    main()
