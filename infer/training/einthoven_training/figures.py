"""How good a network is, and how sure it may be."""

from dataclasses import dataclass

import numpy as np
import torch

from einthoven_training import data
from einthoven_training.leads import EIGHT, SETS, TWELVE, missing_of, rows_of, twelve
from einthoven_training.model import N_LEADS, N_SAMPLES, STRIDE, Network, expected_error, novelty

BATCH = 32
COVERAGE = 0.9
N_QUANTILES = 21
RATE_HZ = 250.0
BAND_HZ = (0.5, 40.0)
# Windows that are as unusual as this share of noise windows is at least are refused.
NOISE_SHARE = 0.05
N_NOISE = 64


@dataclass
class Completed:
    """Windows completed from some of their leads; everything in mV."""

    # [window, 8, sample], measured leads as they were.
    leads: np.ndarray
    # [window, 8, step].
    deviations: np.ndarray
    # [window].
    expected_error: np.ndarray
    novelty: np.ndarray


@torch.no_grad()
def complete(network: Network, windows: data.Windows, observed: tuple[str, ...]) -> Completed:
    """Complete windows from the `observed` leads."""
    network.eval()
    parts = []
    for first in range(0, len(windows), BATCH):
        truth = torch.from_numpy(windows.leads[first : first + BATCH])
        there = torch.zeros_like(truth)
        there[:, rows_of(observed)] = 1.0
        x = torch.cat([truth * there, there], dim=1)
        out = network(x)
        parts.append(
            (
                torch.where(there > 0, truth, out.leads * out.scale),
                torch.exp(0.5 * out.log_variance) * out.scale,
                expected_error(out),
                novelty(x, out),
            )
        )
    return Completed(*(torch.cat(part).numpy() for part in zip(*parts, strict=True)))


def scores(windows: data.Windows, found: np.ndarray, observed: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Give Pearson r and RMSE in mV of each missing lead: [window, missing] each."""
    truth = twelve(torch.from_numpy(windows.leads)).numpy()
    found = twelve(torch.from_numpy(found)).numpy()
    missing = missing_of(observed)
    r = np.full((len(windows), len(missing)), np.nan)
    rmse = np.full_like(r, np.nan)
    for k, (first, last) in enumerate(windows.real):
        for m, row in enumerate(missing):
            a, b = found[k, row, first:last], truth[k, row, first:last]
            if a.std() > 0 and b.std() > 0:
                r[k, m] = np.corrcoef(a, b)[0, 1]
            rmse[k, m] = np.sqrt(np.mean((a - b) ** 2))
    return r, rmse


def mean_r(network: Network, windows: data.Windows, observed: tuple[str, ...]) -> float:
    """Mean Pearson r over windows and missing leads."""
    return float(np.nanmean(scores(windows, complete(network, windows, observed).leads, observed)[0]))


def errors_in_deviations(windows: data.Windows, done: Completed, row: int) -> np.ndarray:
    """Give the absolute errors of a lead in the deviations that the network gave for them."""
    deviation = np.repeat(done.deviations[:, row], STRIDE, axis=1)
    off = np.abs(done.leads[:, row] - windows.leads[:, row]) / deviation
    return np.concatenate([off[k, a:b] for k, (a, b) in enumerate(windows.real)])


def calibrate(network: Network, windows: data.Windows) -> dict[tuple[str, ...], dict]:
    """Fit bands, expected errors and novelty for each set of leads on windows not trained on.

    Bands are conformal: half of one is as many deviations as hold `COVERAGE` of the errors of these windows. What the
    latent gives back no better than noise is too unusual to be reconstructed.
    """
    nothing = noise()
    sets = {}
    shares = np.linspace(0, 1, N_QUANTILES)
    for observed in SETS:
        done = complete(network, windows, observed)
        band = [0.0] * N_LEADS
        for row, lead in enumerate(EIGHT):
            if lead not in observed:
                band[row] = float(np.quantile(errors_in_deviations(windows, done, row), COVERAGE))
        sets[observed] = {
            "band": band,
            "expected_error": np.quantile(done.expected_error, shares).tolist(),
            "novelty": np.quantile(done.novelty, shares).tolist(),
            "novelty_limit": float(np.quantile(complete(network, nothing, observed).novelty, NOISE_SHARE)),
        }
    return sets


def noise() -> data.Windows:
    """Make windows of white noise in the band of the windows, different in each lead."""
    rng = np.random.default_rng(1903)
    spectrum = np.fft.rfft(rng.normal(size=(N_NOISE, N_LEADS, N_SAMPLES)))
    hertz = np.fft.rfftfreq(N_SAMPLES, 1 / RATE_HZ)
    spectrum[..., (hertz < BAND_HZ[0]) | (hertz > BAND_HZ[1])] = 0
    names = np.array([f"noise/{k}" for k in range(N_NOISE)])
    zeros = np.zeros(N_NOISE, dtype=np.int64)
    return data.Windows(
        leads=np.fft.irfft(spectrum, n=N_SAMPLES).astype(np.float32),
        real=np.tile([0, N_SAMPLES], (N_NOISE, 1)),
        scaled=zeros.astype(bool),
        patient=names,
        fold=zeros,
        source=names,
    )


def report(title: str, network: Network, windows: data.Windows, sets: dict[tuple[str, ...], dict]) -> None:
    """Print the figures of a network, per set and, of the first, per lead."""
    if not len(windows):
        return
    print(f"\n{title}: {len(windows)} windows\n")
    print("| observed | mean r | median r | RMSE, mV | in band |")
    print("|---|---|---|---|---|")
    for observed, facts in sets.items():
        done = complete(network, windows, observed)
        r, rmse = scores(windows, done.leads, observed)
        inside = [
            np.mean(errors_in_deviations(windows, done, row) <= facts["band"][row])
            for row, lead in enumerate(EIGHT)
            if lead not in observed
        ]
        name = ", ".join(observed)
        print(
            f"| {name} | {np.nanmean(r):.4f} | {np.nanmedian(r):.4f} | {np.nanmean(rmse):.4f} | {np.mean(inside):.3f} |"
        )
    observed = next(iter(sets))
    r, rmse = scores(windows, complete(network, windows, observed).leads, observed)
    print("\n| lead | mean r | RMSE, mV |\n|---|---|---|")
    for m, row in enumerate(missing_of(observed)):
        print(f"| {TWELVE[row]} | {np.nanmean(r[:, m]):.4f} | {np.nanmean(rmse[:, m]):.4f} |")
