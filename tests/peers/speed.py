#!/usr/bin/env python3
"""QRS detection of one lead: einthoven's speed beside that of sleepecg's C detector, on one core in turns.

usage: tests/peers/speed.py DIR [--records 100,101] [--rounds N] [--example PATH]

needs: pip install -r tests/peers/requirements.txt, and cargo build --release -p dsp --examples

The signals are channel 0 of records of the MIT-BIH Arrhythmia Database, DIR, at 360 Hz, and half an hour of the
signal of `cargo bench -p dsp --bench chain` at 250 Hz. sleepecg sees a whole signal at once and finds beats;
einthoven sees it as a stream in blocks of one second and tells beats, rates and the quality of each second. In each
round both pass every signal, first one, then the other. What counts is the time on the processor (user and system), so
that other programs matter little; the start of our program and its reading of the signal are taken off.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import wfdb
from sleepecg import detect_heartbeats

# so often within a round, for the clock of a process is coarse
PASSES = 10


def synthetic():
    """A beat each 0.8 s over some wander and noise, as in dsp/benches/chain.rs."""
    n = np.arange(1800 * 250)
    t, phase = n / 250, n % 200 - 100.0
    beat = np.exp(-phase * phase / 12) + 0.2 * np.exp(-((phase - 60) ** 2) / 300)
    return beat + 0.1 * np.sin(t) + 0.02 * np.sin(t * 713)


def theirs(signal, rate):
    begin = time.process_time()
    for _ in range(PASSES):
        detect_heartbeats(signal, rate, backend="c")
    return (time.process_time() - begin) / PASSES


def ours(example, file, rate):
    def cpu(passes):
        with open(file, "rb") as lead:
            child = subprocess.Popen([example, str(rate), str(passes)], stdin=lead, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
        if status:
            sys.exit(f"{example} failed")
        return usage.ru_utime + usage.ru_stime

    return (cpu(PASSES + 1) - cpu(1)) / PASSES


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--records", default="101,106,118,203,223")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--example", default="target/release/examples/one_lead")
    args = parser.parse_args()
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    signals = [("signal of the benchmark", 250, synthetic())]
    for name in args.records.split(","):
        record = wfdb.rdrecord(str(args.dir / name), channels=[0])
        signals.append((f"MIT-BIH {name}", record.fs, np.nan_to_num(record.p_signal[:, 0])))
    print("| signal | Hz | einthoven, Msample/s | sleepecg, C, Msample/s | ratio |")
    print("|---" * 5 + "|")
    with tempfile.NamedTemporaryFile() as file:
        for title, rate, signal in signals:
            file.seek(0)
            file.truncate()
            file.write(signal.astype("<f4").tobytes())
            file.flush()
            rounds = [(ours(args.example, file.name, rate), theirs(signal, rate)) for _ in range(args.rounds)]
            own, other = (len(signal) / statistics.median(times) / 1e6 for times in zip(*rounds))
            ratio = statistics.median(theirs / ours for ours, theirs in rounds)
            print(f"| {title} | {rate} | {own:.1f} | {other:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
