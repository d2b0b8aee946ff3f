#!/usr/bin/env python3
"""QRS detection of the Python toolboxes beside einthoven's, on the same records, by one scorer.

usage: tests/peers/qrs.py DIR [--channel N] [--noise RECORD --snr DB] [--tools a,b] [--einthoven PATH]

needs: pip install -r tests/peers/requirements.txt, and the program built (cargo build --release)

Each toolbox sees a whole record at once, with its defaults and its own cleaning; einthoven sees it as a stream.
A toolbox's beats are written as WFDB annotations into a folder of links to the records, and both are scored by
`einthoven evaluate qrs`. With --noise the toolboxes get the same noise as `evaluate qrs --noise` adds
(see src/evaluate/noise.rs), and the noisy minutes are scored apart. Times are of detection alone, one thread,
and cover for einthoven the whole of `evaluate` on one core, reading, quality, rate and windows included.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
warnings.filterwarnings("ignore")

import numpy as np
import wfdb

BEATS = set("NLRBAaJSVrFejnE/fQ?")


def xqrs(signal, rate):
    from wfdb.processing import XQRS

    detector = XQRS(sig=signal, fs=rate)
    detector.detect(verbose=False)
    return detector.qrs_inds


def sleepecg(signal, rate):
    from sleepecg import detect_heartbeats

    return detect_heartbeats(signal, rate, backend="c")


def neurokit(method):
    def detect(signal, rate):
        import neurokit2

        clean = neurokit2.ecg_clean(signal, rate, method=method)
        return neurokit2.ecg_peaks(clean, rate, method=method)[1]["ECG_R_Peaks"]

    return detect


def py_ecg_detectors(method):
    def detect(signal, rate):
        from ecgdetectors import Detectors

        return getattr(Detectors(rate), method)(signal)

    return detect


def biosppy(signal, rate):
    from biosppy.signals.ecg import ecg

    return ecg(signal, rate, show=False)["rpeaks"]


TOOLS = {
    "xqrs": ("WFDB xqrs", xqrs),
    "sleepecg": ("sleepecg, C", sleepecg),
    "neurokit": ("NeuroKit2", neurokit("neurokit")),
    "kalidas": ("NeuroKit2 kalidas2017", neurokit("kalidas2017")),
    "biosppy": ("BioSPPy", biosppy),
    "pantom": ("py-ecg-detectors Pan-Tompkins", py_ecg_detectors("pan_tompkins_detector")),
    "engzee": ("py-ecg-detectors engzee", py_ecg_detectors("engzee_detector")),
}


def beats(path):
    """Samples of the beats of the reference annotations."""
    annotation = wfdb.rdann(str(path), "atr")
    pairs = zip(annotation.sample, annotation.symbol)
    return np.array([sample for sample, symbol in pairs if symbol in BEATS])


def trimmed_mean(values):
    values = np.sort(values)
    cut = len(values) // 20
    return values[cut : len(values) - cut].mean()


def qrs_amplitude(signal, marks, rate):
    half = round(0.05 * rate)
    near = (signal[max(0, at - half) : at + half + 1] for at in marks[:300])
    return trimmed_mean([np.ptp(values) for values in near])


class Noise:
    """The noise of a record, as in src/evaluate/noise.rs."""

    def __init__(self, path, folder, snr):
        record = wfdb.rdrecord(str(path))
        self.snr, self.signals = snr, np.nan_to_num(record.p_signal)
        made = re.search(r"nst' from records (\S+) and \S+ \(SNR = (-?\d+) dB", " ".join(record.comments))
        if made:
            candidates = [Path(path).parent / made[1], Path(folder) / made[1]]
            clean = next(path for path in candidates if path.with_suffix(".hea").exists())
            below = np.nan_to_num(wfdb.rdrecord(str(clean)).p_signal)
            self.signals = self.signals - below
            amplitudes = [qrs_amplitude(signal, beats(clean), record.fs) for signal in below.T]
            self.reference = np.array(amplitudes) * 10 ** (-float(made[2]) / 20)
        else:
            seconds = self.signals[: len(self.signals) // record.fs * record.fs]
            seconds = seconds.reshape(-1, record.fs, seconds.shape[1])
            noisy = [k for k in range(len(seconds)) if k >= 300 and (k - 300) // 120 % 2 == 0]
            deviations = seconds[noisy].std(axis=1)
            self.reference = np.array([trimmed_mean(d) for d in deviations.T]) * np.sqrt(8)

    def add(self, signal, channel, marks, rate):
        channel = min(channel, self.signals.shape[1] - 1)
        gain = qrs_amplitude(signal, marks, rate) / self.reference[channel] * 10 ** (-self.snr / 20)
        return signal + gain * np.resize(self.signals[:, channel], len(signal))


def evaluate(program, folder, options):
    begin = time.perf_counter()
    command = [program, "evaluate", "qrs", str(folder), "--json", *options]
    # one core, as the toolboxes have
    one = ["taskset", "-c", "0"] if sys.platform == "linux" else []
    report = json.loads(subprocess.run(one + command, check=True, capture_output=True).stdout)
    return report, time.perf_counter() - begin


def row(name, report, seconds, n):
    cells = [report["gross"]] + ([report["gross"]["noisy"]] if "noisy" in report["gross"] else [])
    # a detector that finds nothing has no +P
    text = lambda value: "-" if value is None else f"{value:.2f}"
    figures = " | ".join(text(cell[key]) for cell in cells for key in ("se", "ppv", "f1"))
    print(f"| {name} | {report['records']} | {figures} | {1000 * seconds / n:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--channel", type=int, default=0)
    parser.add_argument("--noise", type=Path)
    parser.add_argument("--snr", type=float)
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--einthoven", default="target/release/einthoven")
    args = parser.parse_args()
    folder = args.dir.resolve()
    names = sorted(path.stem for path in folder.glob("*.hea") if path.with_suffix(".atr").exists())
    options = ["--channel", str(args.channel)]
    noise = None
    if args.noise:
        options += ["--noise", str(args.noise), "--snr", str(args.snr)]
        noise = Noise(args.noise, folder, args.snr)
    print("| detector | records | Se | +P | F1 |" + (" noisy Se | +P | F1 |" if noise else "") + " ms a record |")
    print("|---" * (9 if noise else 6) + "|")
    report, seconds = evaluate(args.einthoven, folder, options)
    row("einthoven", report, seconds, len(names))
    with tempfile.TemporaryDirectory() as place:
        for path in folder.iterdir():
            (Path(place) / path.name).symlink_to(path)
        for tool in args.tools.split(","):
            title, detect = TOOLS[tool]
            seconds, failed = 0.0, []
            for name in names:
                record = wfdb.rdrecord(str(folder / name), channels=[args.channel])
                signal = np.nan_to_num(record.p_signal[:, 0])
                if noise:
                    signal = noise.add(signal, args.channel, beats(folder / name), record.fs)
                begin = time.perf_counter()
                try:
                    found = np.unique(np.asarray(detect(signal, record.fs), dtype=int))
                except Exception as error:  # a toolbox that fails on a record finds nothing there
                    found = np.array([], dtype=int)
                    failed.append(f"{name}: {error!r}")
                seconds += time.perf_counter() - begin
                found = found[(found >= 0) & (found < record.sig_len)]
                if len(found) == 0:
                    found = np.array([0])
                wfdb.wrann(name, tool, found, symbol=["N"] * len(found), write_dir=place, fs=record.fs)
            report, _ = evaluate(args.einthoven, place, [*options, "--annotator", tool])
            row(title, report, seconds, len(names))
            for line in failed:
                print(f"{title} failed on {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
