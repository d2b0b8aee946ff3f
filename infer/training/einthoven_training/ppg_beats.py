"""When hearts beat, and how: sequences of beats for synthetic pulse waves, from annotated ECG and from rules.

A sequence has the times of its beats in seconds, from some seconds before the segment of 10 s that it is for to some
after, the kind of each beat (N, S, V), and the label of the segment. Those from recordings carry the patient.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sleepecg
import wfdb

LABELS = ("sinus", "pvc", "pac", "vt", "svt", "af")
SINUS, PVC, PAC, VT, SVT, AF = range(6)
SECONDS = 10.0
# What a sequence holds before and after its segment, s.
BEFORE, AFTER = 4.0, 2.0
# No pause between beats of one sequence is longer, s.
LONGEST = 3.0
# Intervals that vary by a smaller share are regular.
STEADY = 0.06
# This many of a hundred patients are held out.
HELD_OUT = 20
PLAIN = frozenset("NLRej")
KINDS = {**dict.fromkeys(PLAIN, "N"), **dict.fromkeys("AaJS", "S"), **dict.fromkeys("VEF", "V")}


@dataclass
class Sequence:
    """Beats around a segment."""

    times: np.ndarray
    kinds: np.ndarray
    label: int
    # Database and patient, or how it was made up.
    source: str


@dataclass
class Beats:
    """The beats of a stretch that was annotated throughout."""

    times: np.ndarray
    kinds: np.ndarray
    # The rhythm at each beat: "AF", "SVT", "VT", "N", or "" where nothing is to be learnt.
    rhythms: np.ndarray
    source: str


def hash_of(source: str) -> int:
    """A number of a name."""
    number = 0
    for letter in source.encode():
        number = (number * 131 + letter) % 1_000_003
    return number * 7919


def held_out(source: str) -> bool:
    """Whether a patient is for validation alone; by name, so that nothing moves when data are added."""
    return hash_of(source) % 100 < HELD_OUT


def vitaldb(folder: Path) -> list[Beats]:
    """Read the VitalDB arrhythmia annotations; a stretch ends where the signal is called bad."""
    names = {"N": "N", "SR-mPVC-BT": "N", "SR-mPAC-BT": "N", "AFIB/AFL": "AF", "SVTA": "SVT", "VT": "VT"}
    out = []
    for path in sorted(folder.glob("Annotation_file_*.csv")):
        times, kinds, rhythms = [], [], []
        source = f"vitaldb/{path.stem.rsplit('_', 1)[1]}"

        def close(times=times, kinds=kinds, rhythms=rhythms, source=source) -> None:
            if len(times) > 8:
                out.append(Beats(np.array(times), np.array(kinds), np.array(rhythms), source))
            times.clear(), kinds.clear(), rhythms.clear()

        with path.open(newline="", encoding="utf-8-sig") as table:
            for row in csv.DictReader(table):
                if row["bad_signal_quality"] != "False" or row["rhythm_label"] == "Noise":
                    close()
                    continue
                if row["beat_type"] not in ("N", "S", "V", "U"):
                    continue
                times.append(float(row["time_second"]))
                kinds.append(row["beat_type"])
                rhythms.append(names.get(row["rhythm_label"], ""))
        close()
    return out


def mitdb(folder: Path) -> list[Beats]:
    """Read MIT-BIH, without paced records."""
    names = {"AFIB": "AF", "AFL": "", "N": "N", "B": "N", "T": "N", "SVTA": "SVT", "VT": "VT"}
    out = []
    for path in sorted(folder.glob("*.atr")):
        found = wfdb.rdann(str(path.with_suffix("")), "atr")
        if "/" in found.symbol:
            continue
        times, kinds, rhythms, rhythm = [], [], [], "N"
        for at, symbol, aux in zip(found.sample, found.symbol, found.aux_note, strict=True):
            if symbol == "+" and aux.startswith("("):
                rhythm = names.get(aux[1:].strip("\0"), "")
            elif symbol in KINDS or symbol in "QfU|":
                times.append(at / found.fs)
                kinds.append(KINDS.get(symbol, "U"))
                rhythms.append(rhythm)
        out.append(Beats(np.array(times), np.array(kinds), np.array(rhythms), f"mitdb/{path.stem}"))
    return out


def cinc2017(folder: Path) -> list[Beats]:
    """Find the beats of Challenge 2017's records of sinus rhythm and of fibrillation."""
    out = []
    with (folder / "REFERENCE.csv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["rhythm"] in ("N", "A")]
    for row in rows:
        record = wfdb.rdrecord(str(folder / row["record"]))
        times = sleepecg.detect_heartbeats(record.p_signal[:, 0], record.fs) / record.fs
        rhythm = "AF" if row["rhythm"] == "A" else "N"
        out.append(Beats(times, np.full(len(times), "N"), np.full(len(times), rhythm), f"cinc2017/{row['record']}"))
    return out


def cut(beats: Beats, hop: dict[int, float]) -> list[Sequence]:
    """Cut the segments that have a label; the next one comes after the hop of the label."""
    out = []
    times = beats.times
    if len(times) < 8:
        return out
    start = times[0] + 0.5
    while start + SECONDS < times[-1]:
        first, last = np.searchsorted(times, [start - BEFORE, start + SECONDS + AFTER])
        inside = slice(*np.searchsorted(times, [start, start + SECONDS]))
        label = label_of(times[inside], beats.kinds[inside], beats.rhythms[inside])
        around = times[first:last] - start
        if label is not None and np.diff(around).max(initial=0) <= LONGEST and np.diff(around).min(initial=1) > 0.18:
            if label == SINUS and beats.source.startswith("cinc2017") and not steady(times[inside]):
                label = None
            else:
                out.append(Sequence(around, beats.kinds[first:last], label, beats.source))
        start += hop.get(label, 5.0) if label is not None else 2.5
    return out


def steady(times: np.ndarray) -> bool:
    """Whether beats that nobody classified have no early one among them."""
    rr = np.diff(times)
    return len(rr) > 4 and bool((np.abs(rr / np.median(rr) - 1) < 0.2).all())


def label_of(times: np.ndarray, kinds: np.ndarray, rhythms: np.ndarray) -> int | None:
    """Label a segment by its beats, or not where it is none of the labels for sure."""
    n = len(times)
    if n < 4:
        return None
    if (rhythms == "AF").all():
        rr = np.diff(times)
        # What is as regular is flutter, and no pulse wave tells it from anything else.
        return AF if rr.std() > STEADY * rr.mean() else None
    if (rhythms == "AF").any() or (rhythms == "").any():
        return None
    ventricular = kinds == "V"
    run = longest(ventricular)
    if run >= 3:
        at = next(k for k in range(n - run + 1) if ventricular[k : k + run].all())
        return VT if np.diff(times[at : at + run]).mean() < 0.6 else None
    if (rhythms == "SVT").sum() >= 5:
        return SVT if not ventricular.any() else None
    if (rhythms != "N").any() or (kinds == "U").any():
        return None
    n_v, n_s = ventricular.sum(), (kinds == "S").sum()
    if n_v == n_s == 0:
        return SINUS
    if longest(kinds == "S") > 5 or n_s > 0.7 * n:
        return None
    if n_v >= 3 * n_s:
        return PVC
    return PAC if n_s >= 3 * n_v else None


def longest(is_so: np.ndarray) -> int:
    """Length of the longest run."""
    most = run = 0
    for so in is_so:
        run = run + 1 if so else 0
        most = max(most, run)
    return most


def recorded(vital: Path, mit: Path, cinc: Path | None) -> list[Sequence]:
    """Read all sequences that come from patients."""
    hop = {SINUS: 10.0, AF: 5.0, PVC: 4.0, PAC: 4.0, VT: 1.3, SVT: 2.0}
    beats = vitaldb(vital) + mitdb(mit) + (cinc2017(cinc) if cinc else [])
    return [sequence for of in beats for sequence in cut(of, hop)]


class Maker:
    """Sequences from rules, for what recordings have too little of."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def sequence(self, label: int) -> Sequence:
        """Make up beats of a label."""
        while True:
            times, kinds = (self.sinus, self.pvc, self.pac, self.vt, self.svt, self.af)[label]()
            inside = (times >= 0) & (times < SECONDS)
            shown = {PVC: "V", PAC: "S", VT: "V", SVT: "S"}.get(label)
            enough = {VT: 3, SVT: 5}.get(label, 1)
            if shown is None or (kinds[inside] == shown).sum() >= enough:
                return Sequence(times, kinds, label, "made")

    def basic(self, n: int = 80) -> np.ndarray:
        """Intervals of sinus rhythm: respiration, slow waves, drift and jitter."""
        rng = self.rng
        mean = float(np.clip(rng.lognormal(np.log(0.82), 0.22), 0.45, 1.5))
        respiration = mean * rng.exponential(0.025) if rng.random() < 0.7 else mean * rng.uniform(0.05, 0.22)
        slow = mean * rng.exponential(0.015)
        drift = rng.normal(0, 0.003)
        breaths, waves = rng.uniform(0.13, 0.42), rng.uniform(0.05, 0.12)
        phases = rng.uniform(0, 2 * np.pi, 2)
        jitter = mean * rng.exponential(0.006)
        skew = rng.uniform(0, 0.5)
        t, out = 0.0, []
        for k in range(n):
            angle = 2 * np.pi * breaths * t + phases[0]
            rr = (
                mean
                + respiration * np.sin(angle + skew * np.sin(angle))
                + slow * np.sin(2 * np.pi * waves * t + phases[1])
            )
            rr = max(0.3, rr + drift * k * mean + rng.normal(0, jitter))
            out.append(rr)
            t += rr
        return np.array(out)

    def place(self, intervals: np.ndarray, kinds: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Lay intervals over the segment; each ends with the beat of its kind."""
        times = -BEFORE + self.rng.uniform(0, 0.9) + np.concatenate([[0.0], np.cumsum(intervals)])
        kinds = np.array(["N", *kinds])
        keep = times < SECONDS + AFTER
        return times[keep], kinds[keep]

    def sinus(self) -> tuple[np.ndarray, np.ndarray]:
        """Sinus rhythm, sometimes fast, sometimes with a lot of arrhythmia of respiration."""
        intervals = self.basic()
        if self.rng.random() < 0.15:
            intervals *= self.rng.uniform(0.42, 0.6) / intervals.mean()
        return self.place(intervals, ["N"] * len(intervals))

    def pattern(self, n: int) -> list[bool]:
        """Choose which beats are early: alone, every second, third or fourth, pairs, at random."""
        rng = self.rng
        style = rng.random()
        early = np.zeros(n, dtype=bool)
        if style < 0.35:
            early[rng.integers(4, 18, int(rng.integers(1, 4)))] = True
        elif style < 0.6:
            every = int(rng.choice([2, 2, 3, 4, 5]))
            early[int(rng.integers(0, every)) :: every] = True
            if rng.random() < 0.4:
                early &= rng.random(n) < rng.uniform(0.5, 0.95)
        else:
            early = rng.random(n) < rng.uniform(0.05, 0.4)
        pairs = rng.random() < 0.2
        for k in range(1, n):
            if early[k] and early[k - 1] and not (pairs and rng.random() < 0.8):
                early[k] = False
            if k > 1 and early[k] and early[k - 1] and early[k - 2]:
                early[k] = False
        return list(early)

    def pvc(self) -> tuple[np.ndarray, np.ndarray]:
        """Ventricular ectopy: fixed coupling, full compensation, or between two beats without any."""
        rng = self.rng
        base = self.basic()
        coupling, spread = rng.uniform(0.45, 0.85), rng.choice([0.01, 0.03, 0.1])
        between = rng.random() < 0.1
        intervals, kinds = [], []
        early = self.pattern(len(base))
        k = 0
        while k < len(base) - 2:
            rr = base[k]
            if not early[k]:
                intervals.append(rr), kinds.append("N")
                k += 1
                continue
            first = max(0.28, rr * min(0.95, coupling + rng.normal(0, spread)))
            intervals.append(first), kinds.append("V")
            spent = first
            if early[k + 1]:
                second = max(0.28, rr * min(0.9, coupling + rng.normal(0.03, spread)))
                intervals.append(second), kinds.append("V")
                spent += second
                k += 1
            if between and spent < 0.6 * rr:
                intervals.append(rr - spent + rng.uniform(0, 0.08)), kinds.append("N")
                k += 1
                continue
            # Sinus beats go on underneath; the first that comes after the pause is conducted.
            due = 2 * rr if spent < 1.75 * rr else 3 * rr
            rest = due - spent + rng.normal(0, 0.01 + 0.3 * spread * rr)
            intervals.append(max(0.35, rest)), kinds.append("N")
            k += 2
        return self.place(np.array(intervals), kinds)

    def pac(self) -> tuple[np.ndarray, np.ndarray]:
        """Atrial ectopy: coupling that varies, the sinus node reset, some not conducted, short runs."""
        rng = self.rng
        base = self.basic()
        coupling, spread = rng.uniform(0.45, 0.85), rng.choice([0.02, 0.06, 0.12])
        reset = rng.uniform(0.95, 1.35)
        blocked = rng.uniform(0, 0.5) if rng.random() < 0.25 else 0.0
        runs = rng.random() < 0.15
        intervals, kinds = [], []
        early = self.pattern(len(base))
        for k, rr in enumerate(base):
            if not early[k]:
                intervals.append(rr), kinds.append("N")
                continue
            first = max(0.28, rr * float(np.clip(coupling + rng.normal(0, spread), 0.35, 0.93)))
            after = max(0.35, rr * (reset + rng.normal(0, 0.04)))
            if rng.random() < blocked:
                intervals.append(first + after), kinds.append("N")
                continue
            intervals.append(first), kinds.append("S")
            if runs and rng.random() < 0.3:
                for _ in range(int(rng.integers(1, 4))):
                    intervals.append(max(0.28, first * rng.uniform(0.85, 1.2))), kinds.append("S")
            intervals.append(after), kinds.append("N")
        return self.place(np.array(intervals), kinds)

    def fast(self, kind: str, jitter: float) -> tuple[np.ndarray, np.ndarray]:
        """Fast beats throughout, or from some moment on, or until some moment."""
        rng = self.rng
        base = list(self.basic())
        rr = 60 / rng.uniform(110, 230)
        settle, alternate = rng.normal(0, 0.06), rng.normal(0, 0.03) if rng.random() < 0.2 else 0.0
        n = (
            int(rng.choice([3, 4, 5, 7, 10, 15, 200, 200, 200, 200]))
            if kind == "V"
            else int(rng.choice([8, 12, 20, 200, 200, 200]))
        )
        run = [
            max(0.24, rr * (1 + settle * np.exp(-k / 4) + alternate * (-1) ** k + rng.normal(0, jitter)))
            for k in range(n)
        ]
        if rng.random() < 0.6 and n > 100:
            start = 0
        else:
            start = int(np.searchsorted(np.cumsum(base), BEFORE + rng.uniform(-1.5, 7.5)))
        before, after = base[:start], base[start:]
        run[0] = min(run[0] * 1.1, base[start] * 0.8)
        pause = [base[start] * rng.uniform(1.0, 1.6)]
        intervals = before + run + pause + after
        kinds = ["N"] * len(before) + [kind] * n + ["N"] * (1 + len(after))
        return self.place(np.array(intervals), kinds)

    def vt(self) -> tuple[np.ndarray, np.ndarray]:
        """Ventricular tachycardia, in runs or throughout."""
        return self.fast("V", self.rng.choice([0.005, 0.015, 0.04]))

    def svt(self) -> tuple[np.ndarray, np.ndarray]:
        """Supraventricular tachycardia: more regular."""
        return self.fast("S", self.rng.choice([0.003, 0.008, 0.02]))

    def af(self) -> tuple[np.ndarray, np.ndarray]:
        """Fibrillation: intervals without memory above a refractory period, slow changes of the rate, some V."""
        rng = self.rng
        mean = float(np.clip(rng.lognormal(np.log(0.68), 0.25), 0.36, 1.3))
        spread = rng.uniform(0.12, 0.34)
        shape = 1 / spread**2
        least = max(0.26, mean * (1 - 2.2 * spread))
        n = 80
        if rng.random() < 0.3:
            # Impulses at random over a node that recovers: the longer the last interval, the longer it is refractory.
            intervals, last = [], mean
            rate = 1 / max(0.05, mean * spread)
            for _ in range(n):
                last = 0.3 * last + 0.7 * (mean * (1 - spread)) + rng.exponential(1 / rate) + rng.normal(0, 0.02)
                intervals.append(float(np.clip(last, 0.27, 2.4)))
            intervals = np.array(intervals)
        else:
            intervals = np.clip(rng.gamma(shape, mean / shape, n), least, 2.4)
        wave = 1 + 0.08 * np.sin(2 * np.pi * np.arange(n) / rng.uniform(8, 40) + rng.uniform(0, 6))
        kinds = np.where(rng.random(n) < (0.05 if rng.random() < 0.2 else 0.0), "V", "N")
        return self.place(intervals * wave, list(kinds))
