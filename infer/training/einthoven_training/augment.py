"""What training does to windows, so that a model does not depend on what it should not."""

import numpy as np
import torch
import torch.nn.functional as F

from einthoven_training.leads import EIGHT, SETS, rows_of

# Dower's map from the Frank leads X, Y, Z to the eight (Dower et al., J Electrocardiol 13, 1980).
DOWER = torch.tensor(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
FRANK = torch.linalg.pinv(DOWER)
# Standard deviations: rotation of the heart in radians, logarithm of pace and of gain, shift in samples.
TURN = 0.15
PACE = 0.08
GAIN = 0.3
SHIFT = 30.0
# How often a stretch of some leads is missing.
P_MISSING = 0.1


def vary(leads: torch.Tensor, real: torch.Tensor, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Change pace, position, electrical axis and gain; the windows, and which samples are real."""
    n, _, n_samples = leads.shape
    pace = torch.exp(torch.randn(n, 1, generator=random) * PACE)
    shift = (torch.rand(n, 1, generator=random) * 2 - 1) * 2 * SHIFT / n_samples
    at = torch.linspace(-1, 1, n_samples)[None] * pace + shift
    first = real[:, :1] / n_samples * 2 - 1
    last = (real[:, 1:] - 1) / n_samples * 2 - 1
    grid = torch.stack([at, torch.zeros_like(at)], dim=-1)[:, None]
    leads = F.grid_sample(leads[:, :, None], grid, mode="bilinear", padding_mode="border", align_corners=True)[:, :, 0]
    turn = rotations(n, random) - torch.eye(3)
    leads = leads + DOWER @ (turn @ (FRANK @ leads))
    gain = torch.exp(torch.randn(n, 1, 1, generator=random) * GAIN)
    return leads * gain, ((at >= first) & (at <= last)).float()


def rotations(n: int, random: torch.Generator) -> torch.Tensor:
    """Draw small rotations of space: [n, 3, 3]."""
    x, y, z = (torch.randn(3, n, generator=random) * TURN).unbind()
    zero = torch.zeros(n)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1)
    return torch.linalg.matrix_exp(skew.view(n, 3, 3))


def disturb(leads: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Add noise and slow wander of very different sizes to each lead."""
    n, n_leads, n_samples = leads.shape
    size = leads.std(dim=(1, 2), keepdim=True)

    def level(middle: float) -> torch.Tensor:
        return torch.exp(torch.randn(n, n_leads, 1, generator=random) + middle) * size

    noise = F.avg_pool1d(torch.randn(leads.shape, generator=random), 3, 1, 1) * 1.7
    slow = torch.randn(n, n_leads, 24, generator=random)
    wander = F.interpolate(slow, size=n_samples, mode="linear")
    return leads + noise * level(-4.2) + wander * level(-3.5)


def masks(n: int, n_samples: int, rng: np.random.Generator) -> torch.Tensor:
    """Draw which leads are measured: [n, 8, sample], a stretch of some missing now and then."""
    sets = [rows_of(leads) for leads in SETS]
    shares = np.array([*SETS.values(), max(0.0, 1 - sum(SETS.values()))])
    out = torch.zeros(n, len(EIGHT), n_samples)
    for k, choice in enumerate(rng.choice(len(shares), n, p=shares / shares.sum())):
        if choice < len(sets):
            rows = sets[choice]
        else:
            # At least one limb lead: without any, nothing ties the chest to the twelve.
            rows = rng.choice(len(EIGHT), rng.integers(1, 6), replace=False)
            if not set(rows) & {0, 1}:
                rows[0] = rng.integers(0, 2)
        out[k, rows] = 1.0
        if rng.random() < P_MISSING:
            start = rng.integers(0, n_samples)
            stretch = slice(start, start + rng.integers(50, 750))
            out[k, :, stretch] *= torch.from_numpy(rng.random((len(EIGHT), 1)) < 0.5).float()
    return out
