"""Pulse detectors on the very stretches on which einthoven's is scored.

    einthoven evaluate pulse DATA/cinc2015 --json --lists [--weights FOLDS] > lists.json
    python tests/peers/pulse.py DATA/cinc2015 lists.json

Each detector sees the whole record at once; a time from beat to pulse of its own is taken from each, as from ours. Counted where the ECG is
good, and where einthoven calls the PPG usable as well; the rate over ten such seconds on end against that of the ECG.
"""

import json
import sys
import warnings
from pathlib import Path

import heartpy
import neurokit2
import numpy as np
import wfdb

TOLERANCE, RATE_SECONDS = 0.15, 10


def neurokit(method):
    def find(x, hz):
        x = neurokit2.ppg_clean(x, sampling_rate=hz, method="elgendi" if method == "elgendi" else "nabian2018")
        return neurokit2.ppg_findpeaks(x, sampling_rate=hz, method=method)["PPG_Peaks"] / hz

    return find


def heart(x, hz):
    x = heartpy.filter_signal(x, [0.5, 8], hz, order=3, filtertype="bandpass")
    data, _ = heartpy.process(heartpy.scale_data(x), hz)
    kept = np.array(data["binary_peaklist"], bool)
    return np.array(data["peaklist"])[kept] / hz


DETECTORS = {
    "NeuroKit2 elgendi": neurokit("elgendi"),
    "NeuroKit2 bishop (MSPTD)": neurokit("bishop"),
    "NeuroKit2 charlton (MSPTDfast)": neurokit("charlton"),
    "HeartPy": heart,
}


def transit(beats, times):
    """As in src/evaluate/pulse.rs: the median within the most frequent 0.3 s."""
    apart = np.sort((times[None] - beats[:, None]).ravel())
    apart = apart[(apart >= -0.2) & (apart <= 1.0)]
    if len(apart) == 0:
        return None
    ends = np.searchsorted(apart, apart + 2 * TOLERANCE, "right")
    n = ends - np.searchsorted(apart, apart)
    best = int(np.argmax(n))
    start = np.searchsorted(apart, apart[best])
    return apart[start + (n[best] - 1) // 2]


def match(due, times):
    pairs = sorted((abs(t - d), i, j) for i, d in enumerate(due) for j, t in enumerate(times) if abs(t - d) <= TOLERANCE)
    met, right = np.zeros(len(due), bool), np.zeros(len(times), bool)
    for _, i, j in pairs:
        if not met[i] and not right[j]:
            met[i] = right[j] = True
    return met, right


def rate(times, start):
    inside = times[(times >= start) & (times < start + RATE_SECONDS)]
    return 60 * (len(inside) - 1) / (inside[-1] - inside[0]) if len(inside) > 2 else None


def main():
    folder = Path(sys.argv[1])
    lines = json.loads(Path(sys.argv[2]).read_text())["per_record"]
    found = {}
    for name, detect in {**DETECTORS, "einthoven": None}.items():
        counts, errors, failed, none = np.zeros((2, 3)), [], 0, 0
        for line in lines:
            record = wfdb.rdrecord(str(folder / line["record"]))
            x = record.p_signal[:, record.sig_name.index("PLETH")]
            known = ~np.isnan(x)
            x = np.nan_to_num(x[np.maximum.accumulate(np.where(known, np.arange(len(x)), 0))])
            beats = np.array(line["due"]) - line["transit_ms"] / 1000
            good, usable = np.isin(np.arange(10_000), line["good"]), np.isin(np.arange(10_000), line["usable"])
            if detect is None:
                times = np.array(line["onsets"])
            else:
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        times = np.asarray(detect(x, record.fs), float)
                except Exception:
                    # It gives up on the record.
                    times, failed = np.zeros(0), failed + 1
            late = transit(beats[good[beats.astype(int)]], times)
            if late is None:
                late = 0.0
            due = beats + late
            met, right = match(due, times)
            seconds = lambda t: np.clip(t, 0, 9_999).astype(int)
            for row, gate in enumerate([lambda t: good[seconds(t - late)], lambda t: good[seconds(t - late)] & usable[seconds(t)]]):
                counts[row] += [(met & gate(due)).sum(), (~met & gate(due)).sum(), (~right & gate(times)).sum()]
            fits, start = good & usable, 0
            while start + RATE_SECONDS <= len(x) / record.fs:
                bad = np.flatnonzero(~fits[start : start + RATE_SECONDS])
                if len(bad):
                    start += int(bad[-1]) + 1
                    continue
                pair = rate(times, start), rate(due, start)
                if pair[1] is not None:
                    if pair[0] is None:
                        none += 1
                    else:
                        errors.append(abs(pair[0] - pair[1]))
                start += RATE_SECONDS
        f1 = [100 * 2 * tp / max(2 * tp + fn + fp, 1) for tp, fn, fp in counts]
        se, ppv = [[100 * c[0] / max(c[0] + c[k], 1) for c in counts] for k in (1, 2)]
        print(
            f"{name:32} all: Se {se[0]:.2f} +P {ppv[0]:.2f} F1 {f1[0]:.2f}   usable: Se {se[1]:.2f} +P {ppv[1]:.2f} F1 {f1[1]:.2f}"
            f"   rate off by {np.median(errors):.2f}, 95 % {np.percentile(errors, 95):.2f} ({len(errors)} windows, {none} without)"
            + (f", gave up on {failed} records" if failed else "")
        )


if __name__ == "__main__":
    main()
