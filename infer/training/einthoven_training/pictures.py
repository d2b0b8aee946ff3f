"""Draw the windows of the test fold on which a model is at its median and at its worst.

    python -m einthoven_training.pictures --work DIR --out docs/models.png

uses the windows and the weights that `train` left in DIR. Needs matplotlib: `pip install -e '.[pictures]'`.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from einthoven_training import data, figures
from einthoven_training.leads import rows_of
from einthoven_training.model import STRIDE, Network
from einthoven_training.train import MAIN, split

SHOWN = ("I", "V2", "V3")
SECONDS = (2.0, 5.0)
RATE = 250


def main() -> None:
    """Draw the typical window and the worst by shape and by size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--test-fold", type=int, default=9)
    arguments = parser.parse_args()
    _, validation, test = split(data.Windows.read(arguments.work / "windows.npz"), arguments.test_fold)
    network = Network()
    network.load_state_dict(torch.load(arguments.work / "state.pt", weights_only=False)["best"])
    band = figures.calibrate(network, validation)[MAIN]["band"]
    done = figures.complete(network, test, MAIN)
    r, rmse = figures.scores(test, done.leads, MAIN)
    r, rmse = np.nanmean(r, axis=1), np.nanmean(rmse, axis=1)
    chosen = {
        f"typical (r {np.median(r):.2f})": np.argsort(r)[len(r) // 2],
        f"worst shape (r {r.min():.2f})": np.argmin(r),
        f"largest error ({rmse.max():.2f} mV)": np.argmax(rmse),
    }
    part = slice(*(int(second * RATE) for second in SECONDS))
    seconds = np.arange(part.start, part.stop) / RATE
    figure, axes = pyplot.subplots(len(chosen), len(SHOWN), figsize=(11, 7), sharex=True, layout="constrained")
    for line, (title, window) in zip(axes, chosen.items(), strict=True):
        for axis, lead, row in zip(line, SHOWN, rows_of(SHOWN), strict=True):
            found = done.leads[window, row, part]
            half = np.repeat(done.deviations[window, row] * band[row], STRIDE)[part]
            axis.fill_between(seconds, found - half, found + half, color="tab:purple", alpha=0.2, lw=0)
            axis.plot(seconds, test.leads[window, row, part], color="black", lw=0.9, label="recorded")
            axis.plot(seconds, found, color="tab:purple", lw=0.9, ls="--", label="reconstructed, 90 % band")
            axis.set_title(f"{title}: {lead}", fontsize=9)
            axis.set_ylabel("mV", fontsize=8)
            axis.tick_params(labelsize=7)
    axes[0][0].legend(fontsize=7, loc="upper right")
    figure.savefig(arguments.out, dpi=80)


if __name__ == "__main__":
    main()
