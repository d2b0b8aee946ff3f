"""Scales for recordings whose leads were scaled each by itself.

The limb leads bind each other, so theirs come back exactly but for one common factor: of I, II and III scaled
anyhow, only one set of factors makes III = II - I. The chest leads obey no law; theirs are guessed, by ridge
regression on shapes, from recordings that have a scale. A model may learn from the shape of such a lead, never
from its size.
"""

import numpy as np

from einthoven_training.leads import ROWS

# A recording whose limb leads cannot be made to agree better than this is not used.
MAX_RESIDUAL = 0.05
RIDGE = 100.0
TINY = 1e-6


def restore(samples: np.ndarray, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give [window, 8, sample] in mV for [window, 12, sample] without scale, and which are good.

    `scaled` is [window, 8, sample] in mV, what the guesses are fitted on.
    """
    limb, good = limb_leads(samples)
    chest = samples[:, 6:] / (samples[:, 6:].std(axis=2, keepdims=True) + TINY)
    leads = np.concatenate([limb, chest], axis=1)
    inputs, targets = features(scaled), sizes(scaled)
    mean, deviation = inputs.mean(axis=0), inputs.std(axis=0) + TINY
    design = (inputs - mean) / deviation
    center = targets.mean(axis=0)
    gram = design.T @ design + RIDGE * np.eye(design.shape[1])
    weights = np.linalg.solve(gram, design.T @ (targets - center))
    guessed = np.clip((features(leads) - mean) / deviation @ weights + center, -1.5, 2.0)
    # The common factor is drawn from those of the scaled recordings.
    rng = np.random.default_rng(1903)
    size = rng.choice(limb_size(scaled), len(leads))
    factors = np.concatenate(
        [np.repeat((size / limb_size(leads))[:, None], 2, axis=1), np.exp(guessed) * size[:, None]],
        axis=1,
    )
    return (leads * factors[:, :, None]).astype(np.float32), good


def limb_leads(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale I and II so that III is their difference; whether that was possible."""
    out = np.empty((len(samples), 2, samples.shape[2]))
    good = np.empty(len(samples), dtype=bool)
    for k, window in enumerate(samples.astype(np.float64)):
        _, strengths, directions = np.linalg.svd(window[:3].T, full_matrices=False)
        # The direction in which the three cancel: (I, -II, III).
        of_i, of_ii, of_iii = directions[-1] * np.sign(directions[-1][0]) * (1, -1, 1)
        out[k] = window[0] * of_i, window[1] * of_ii
        good[k] = of_ii > 0 and of_iii > 0 and strengths[-1] < MAX_RESIDUAL * strengths[0]
    return out, good


def limb_size(leads: np.ndarray) -> np.ndarray:
    """Measure the limb leads of [window, 8, sample]: [window]."""
    return leads[:, :2].std(axis=2).mean(axis=1) + TINY


def sizes(leads: np.ndarray) -> np.ndarray:
    """Take the logarithm of the size of each chest lead against the limb leads: [window, 6]."""
    return np.log((leads[:, 2:].std(axis=2) + TINY) / limb_size(leads)[:, None])


def features(leads: np.ndarray) -> np.ndarray:
    """Describe [window, 8, sample] without regard to the scale of chest leads: [window, feature]."""
    rows = []
    pairs = np.triu_indices(len(ROWS), 1)
    for window, size in zip(leads.astype(np.float64), limb_size(leads), strict=True):
        shape = window / (window.std(axis=1, keepdims=True) + TINY)
        rows.append(
            np.concatenate(
                [
                    np.corrcoef(shape)[pairs],
                    np.clip((shape**3).mean(axis=1), -6, 6),
                    np.log((shape**4).mean(axis=1) + TINY),
                    np.log(np.diff(shape, axis=1).std(axis=1) + TINY),
                    np.log((window[:2].std(axis=1) + TINY) / size),
                ]
            )
        )
    return np.array(rows)
