"""Writes golden.json: impulse responses of SciPy's Butterworth and notch filters.

    python3 -m venv venv && venv/bin/pip install numpy scipy
    venv/bin/python dsp/tests/golden.py > dsp/tests/golden.json
"""

import json

import numpy as np
from scipy import signal

RATE = 250.0
N = 200


def impulse(sos):
    x = np.zeros(N)
    x[0] = 1.0
    return signal.sosfilt(sos, x).tolist()


cases = []
for order in range(2, 9):
    for kind, corners in [("lowpass", [30.0]), ("highpass", [2.0]), ("bandpass", [5.0, 25.0])]:
        sos = signal.butter(order, corners if len(corners) > 1 else corners[0], kind, fs=RATE, output="sos")
        cases.append({"kind": kind, "order": order, "corners": corners, "impulse": impulse(sos), "sos": sos.tolist()})
for centre in [50.0, 60.0]:
    b, a = signal.iirnotch(centre, 25.0, fs=RATE)
    sos = signal.tf2sos(b, a)
    cases.append({"kind": "notch", "order": 25, "corners": [centre], "impulse": impulse(sos), "sos": sos.tolist()})
print(json.dumps({"rate": RATE, "cases": cases}))
