"""The classifier of twelve leads.

Input `[batch, 12, 960]`: 9.6 s at 100 Hz, every lead brought to zero mean and unit deviation, so that gain does not
matter and recordings whose leads were scaled each by itself count like any other. A strided stem and two levels of
residual convolutions, from 40 ms to 160 ms a step; mean and largest value of each feature over time; an embedding of
64 numbers; a logit for each class. Widths are multiples of 16 and steps of 12, which is how processors multiply.
"""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from einthoven_training.model import convolution

N_LEADS = 12
RATE_HZ = 100.0
N_SAMPLES = 960
N_EMBEDDING = 64
WIDTHS = (32, 48, 64)
WINDOW_RATE_HZ = 250.0
# The length of the resampling filter in samples of the window each way, and its corner.
REACH = 30
CORNER_HZ = 45.0
TINY = 1e-6


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.first = convolution(width, width, 3)
        self.second = convolution(width, width, 3)
        nn.init.zeros_(self.second[1].weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, width, step] to the same."""
        return F.relu(x + self.second(F.relu(self.first(x))))


class Classifier(nn.Module):
    """The network; see the head of this file."""

    def __init__(self, n_classes: int, n_leads: int = N_LEADS, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        self.stem = nn.Sequential(convolution(n_leads, widths[0], 9, 4), nn.ReLU())
        levels = []
        for a, b in itertools.pairwise(widths):
            levels += [convolution(a, b, 5, 2), nn.ReLU(), Residual(b)]
        self.levels = nn.Sequential(*levels)
        self.embed = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * widths[-1], N_EMBEDDING), nn.ReLU(), nn.Dropout(0.2))
        self.classes = nn.Linear(N_EMBEDDING, n_classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Pool what is found in [batch, lead, sample]: [batch, 2 * width]."""
        h = self.levels(self.stem(x))
        return torch.cat([h.mean(2), h.amax(2)], dim=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give logits [batch, class] and embedding [batch, 64]."""
        embedding = self.embed(self.features(x))
        return self.classes(embedding), embedding


def normalised(leads: torch.Tensor) -> torch.Tensor:
    """Bring every lead of [batch, lead, sample] to zero mean and unit deviation; a flat one to zero."""
    centred = leads - leads.mean(2, keepdim=True)
    return centred / (centred.std(2, keepdim=True, correction=0) + TINY)


def prepared(windows: np.ndarray) -> np.ndarray:
    """Prepare [window, lead, 2560] mV at 250 Hz as the service does: [window, lead, 960]."""
    out = np.empty((*windows.shape[:2], N_SAMPLES), dtype=np.float32)
    every = WINDOW_RATE_HZ / RATE_HZ
    # The middle of the input is the middle of the window.
    first = (windows.shape[2] - N_SAMPLES * every) / 2
    at = first + every * np.arange(N_SAMPLES)
    taps = np.floor(at).astype(int)[:, None] + np.arange(-REACH + 1, REACH + 1)
    away = at[:, None] - taps
    corner = 2 * CORNER_HZ / WINDOW_RATE_HZ
    weights = corner * np.sinc(corner * away) * np.cos(0.5 * np.pi * away / (REACH + 1)) ** 2
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    taps = np.clip(taps, 0, windows.shape[2] - 1)
    for k, window in enumerate(windows):
        out[k] = np.einsum("lst,st->ls", window.astype(np.float32)[:, taps], weights)
    return normalised(torch.from_numpy(out)).numpy()
