"""The published WearECG autoencoder, as a yardstick: cost as published, error at the width that trains here.

Written from the description in Guan et al., PLOS Digit Health 5(5), 2026 (e0001335): twelve leads in, the nine that
are missing set to zero; a convolution to 128 channels, residual blocks with group normalisation and downsampling to
512 channels, self-attention at the lowest rate, a latent with mean and variance, and a decoder that mirrors it;
mean squared error and KL divergence. 1024 samples at 100 Hz. The input is masked here (the public code feeds all
twelve leads to the encoder), and the latent is taken at its mean when figures are made.

    python -m einthoven_training.wearecg --work DIR --width 0.25

uses the windows that `train` left in DIR.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from einthoven_training import augment, data, figures
from einthoven_training.leads import ROWS, TWELVE, twelve
from einthoven_training.model import N_SAMPLES, cost
from einthoven_training.train import MAIN, split

CHANNELS = (128, 256, 512)
N_LATENTS = 4
LENGTH = 1024
GROUPS = 8
BATCH = 16
RATE = 5e-4
KL = 1e-6


class Block(nn.Module):
    """Two convolutions with group normalisation, beside the identity."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.one = nn.Sequential(nn.GroupNorm(GROUPS, n_in), nn.SiLU(), nn.Conv1d(n_in, n_out, 3, padding=1))
        self.two = nn.Sequential(nn.GroupNorm(GROUPS, n_out), nn.SiLU(), nn.Conv1d(n_out, n_out, 3, padding=1))
        self.beside = nn.Conv1d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, in, step] to [batch, out, step]."""
        return self.beside(x) + self.two(self.one(x))


class Attention(nn.Module):
    """Self-attention over time, beside the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.attention = nn.MultiheadAttention(width, 1, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, width, step] to the same."""
        h = self.norm(x).transpose(1, 2)
        return x + self.attention(h, h, h, need_weights=False)[0].transpose(1, 2)


class WearEcg(nn.Module):
    """The autoencoder; `width` scales its channels."""

    def __init__(self, width: float = 1.0):
        super().__init__()
        a, b, c = (int(n * width) for n in CHANNELS)
        self.encoder = nn.Sequential(
            nn.Conv1d(12, a, 3, padding=1),
            *(Block(a, a), Block(a, a), nn.Conv1d(a, a, 3, 2, 1)),
            *(Block(a, b), Block(b, b), nn.Conv1d(b, b, 3, 2, 1)),
            *(Block(b, c), Block(c, c), nn.Conv1d(c, c, 3, 2, 1)),
            *(Block(c, c), Attention(c), Block(c, c)),
            *(nn.GroupNorm(GROUPS, c), nn.SiLU()),
        )
        self.mean = nn.Conv1d(c, N_LATENTS, 1)
        self.log_variance = nn.Conv1d(c, N_LATENTS, 1)
        self.decoder = nn.Sequential(
            nn.Conv1d(N_LATENTS, c, 3, padding=1),
            *(Block(c, c), Attention(c), Block(c, c)),
            *(nn.Upsample(scale_factor=2), nn.Conv1d(c, c, 3, padding=1), Block(c, c), Block(c, c)),
            *(nn.Upsample(scale_factor=2), nn.Conv1d(c, c, 3, padding=1), Block(c, b), Block(b, b)),
            *(nn.Upsample(scale_factor=2), nn.Conv1d(b, b, 3, padding=1), Block(b, a), Block(a, a)),
            *(nn.GroupNorm(GROUPS, a), nn.SiLU(), nn.Conv1d(a, 12, 3, padding=1)),
        )

    def forward(self, x: torch.Tensor, sample: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Complete [batch, 12, 1024]; also the divergence of the latent from a standard normal."""
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h).clamp(-30, 20)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance) if sample else mean
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum((1, 2)).mean()
        return self.decoder(z), divergence


def slower(leads: torch.Tensor) -> torch.Tensor:
    """Bring windows at 250 Hz to 100 Hz; there is nothing above 40 Hz in them."""
    return F.interpolate(leads, size=LENGTH, mode="linear")


def only(leads: torch.Tensor, observed: tuple[str, ...]) -> torch.Tensor:
    """Set the missing leads of [batch, 12, sample] to zero."""
    mask = torch.zeros(1, 12, 1)
    mask[:, [TWELVE.index(lead) for lead in observed]] = 1.0
    return leads * mask


@torch.no_grad()
def complete(network: WearEcg, windows: data.Windows) -> np.ndarray:
    """Complete windows from the main set: [window, 8, sample] at 250 Hz, measured leads as they were."""
    network.eval()
    parts = []
    for first in range(0, len(windows), BATCH):
        eight = torch.from_numpy(windows.leads[first : first + BATCH])
        found, _ = network(only(slower(twelve(eight)), MAIN))
        found = F.interpolate(found, size=N_SAMPLES, mode="linear")[:, ROWS]
        for row, lead in enumerate(TWELVE[r] for r in ROWS):
            if lead in MAIN:
                found[:, row] = eight[:, row]
        parts.append(found)
    return torch.cat(parts).numpy()


def main() -> None:
    """Train, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--test-fold", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    for width in (1.0, arguments.width):
        macs, parameters = cost(WearEcg(width), torch.zeros(1, 12, LENGTH))
        print(f"width {width}: {parameters / 1e6:.1f} M parameters, {macs / 1e9:.2f} G MAC a window")
    train, validation, test = split(data.Windows.read(arguments.work / "windows.npz"), arguments.test_fold)
    # It has no way to learn from leads without a scale.
    train = train.where(train.scaled)
    network = WearEcg(arguments.width)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-4)
    rng, random = np.random.default_rng(0), torch.Generator().manual_seed(0)
    started, best, kept_state, epoch = time.monotonic(), -1.0, network.state_dict(), 0
    while time.monotonic() - started < arguments.minutes * 60:
        network.train()
        order = rng.permutation(len(train))
        for first in tqdm(range(0, len(train) - BATCH + 1, BATCH), leave=False):
            chosen = order[first : first + BATCH]
            leads, _ = augment.vary(torch.from_numpy(train.leads[chosen]), torch.from_numpy(train.real[chosen]), random)
            truth = slower(twelve(leads))
            with torch.autocast("cpu", torch.bfloat16):
                found, divergence = network(only(truth, MAIN), sample=True)
            loss = F.mse_loss(found.float(), truth) + KL * divergence.float()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        epoch += 1
        r = float(np.nanmean(figures.scores(validation, complete(network, validation), MAIN)[0]))
        print(f"epoch {epoch}, loss {float(loss):.4g}, validation r {r:.4f}", flush=True)
        if r > best:
            best, kept_state = r, {k: v.clone() for k, v in network.state_dict().items()}
    network.load_state_dict(kept_state)
    r, rmse = figures.scores(test, complete(network, test), MAIN)
    print(f"test: {len(test)} windows, mean r {np.nanmean(r):.4f}, RMSE {np.nanmean(rmse):.4f} mV")


if __name__ == "__main__":
    main()
