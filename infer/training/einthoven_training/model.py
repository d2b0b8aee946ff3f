"""The variational autoencoder that completes twelve leads.

Input `[batch, 8 + 8, 2560]`: I, II and V1 to V6 in mV at 250 Hz, then for each 1 where it is there and 0, with
the lead at 0, where it is not. Inside, every lead that is there has a root mean square of 1, and how large each
was against the limb leads is told apart: so gain does not matter, and recordings whose leads were scaled each
by itself can be learnt from (`known` says which sizes are real).

An encoder of three levels, from 64 ms to 256 ms a step, ends in a latent with mean and variance (the mean is used
at run time); a decoder with skips from the encoder gives each lead as the sum of a wave of its own, sixteen samples
a step, and the leads that are there through a short filter that is the same for the whole window: an adaptive
linear map.

It also gives the logarithm of the variance of each lead at each step, and two numbers about the window: the
error it expects of itself, and how badly the latent alone gives back the leads that were measured.
"""

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

N_LEADS = 8
N_SAMPLES = 2560
# Samples of a step of the first level.
STRIDE = 16
N_STEPS = N_SAMPLES // STRIDE
WIDTHS = (48, 80, 96)
N_LATENTS = 32
# The filters of the adaptive map look at these samples around each.
TAPS = (-2, 0, 2)
TINY_MV = 1e-4
# Samples of a step of the latent.
LATENT_STRIDE = STRIDE << (len(WIDTHS) - 1)


class Output(NamedTuple):
    """What the network says of a batch; leads relative to `scale`."""

    leads: torch.Tensor
    log_variance: torch.Tensor
    scale: torch.Tensor
    latent_mean: torch.Tensor
    latent_log_variance: torch.Tensor
    # All leads as the latent alone has them.
    from_latent: torch.Tensor
    # The logarithm of the root mean square error that is expected of the missing leads.
    log_error: torch.Tensor


def convolution(n_in: int, n_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolve and normalise over the batch; the export folds one into the other."""
    return nn.Sequential(nn.Conv1d(n_in, n_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm1d(n_out))


class Residual(nn.Module):
    """A convolution beside the identity."""

    def __init__(self, width: int, kernel: int = 5):
        super().__init__()
        self.inner = convolution(width, width, kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [batch, width, step] to the same."""
        return F.silu(x + self.inner(x))


class Network(nn.Module):
    """The network; see the head of this file."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        self.stem = convolution(2 * N_LEADS, widths[0], STRIDE + 1, STRIDE)
        self.sizes = nn.Sequential(nn.Linear(2 * N_LEADS, 64), nn.SiLU(), nn.Linear(64, widths[0] + widths[-1]))
        self.down = nn.ModuleList(
            nn.Sequential(convolution(a, b, 5, 2), nn.SiLU(), Residual(b)) for a, b in itertools.pairwise(widths)
        )
        width = widths[-1]
        self.window = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.latent_mean = nn.Conv1d(width, N_LATENTS, 1)
        self.latent_log_variance = nn.Conv1d(width, N_LATENTS, 1)
        self.opened = nn.Sequential(convolution(N_LATENTS, width, 3), nn.SiLU(), Residual(width))
        self.up = nn.ModuleList(
            nn.ModuleDict({"in": convolution(b, a, 3), "out": Residual(a, 3)})
            for a, b in reversed(list(itertools.pairwise(widths)))
        )
        self.wave = nn.Conv1d(widths[0], N_LEADS * STRIDE, 1)
        self.filters = nn.Linear(width, N_LEADS * N_LEADS * len(TAPS))
        self.log_variance = nn.Conv1d(widths[0], N_LEADS, 1)
        self.from_latent = nn.Sequential(
            convolution(N_LATENTS, 64, 3), nn.SiLU(), nn.Conv1d(64, N_LEADS * LATENT_STRIDE, 1)
        )
        self.error = nn.Sequential(nn.Linear(2 * width + N_LEADS, 32), nn.SiLU(), nn.Linear(32, 1))
        nn.init.zeros_(self.filters.weight)
        nn.init.zeros_(self.filters.bias)

    def forward(self, x: torch.Tensor, sample: bool = False, known: torch.Tensor | None = None) -> Output:
        """Complete a batch; with `sample` the latent is drawn, not taken at its mean.

        `known` is [batch, 8], 1 where the size of a lead against the others is real; all are without it.
        """
        n = x.shape[0]
        there = x[:, N_LEADS:]
        size, sizes, scale = measure(x[:, :N_LEADS], there, known)
        leads = x[:, :N_LEADS] / size[:, :, None]
        sizes = self.sizes(sizes)
        at_stem, at_bottom = sizes.split([WIDTHS[0], WIDTHS[-1]], dim=1)
        h = F.silu(self.stem(torch.cat([leads, there], dim=1)) + at_stem[:, :, None])
        skips = []
        for down in self.down:
            skips.append(h)
            h = down(h)
        window = self.window(h.mean(2) + at_bottom)
        h = h + window[:, :, None]
        mean = self.latent_mean(h)
        log_variance = self.latent_log_variance(h).clamp(-8.0, 4.0)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance) if sample else mean
        from_latent = interleave(self.from_latent(z), LATENT_STRIDE)
        h = self.opened(z)
        pooled = h.mean(2)
        for up in self.up:
            h = F.interpolate(h, scale_factor=2, mode="nearest")
            h = up["out"](F.silu(up["in"](h)) + skips.pop())
        wave = interleave(self.wave(h), STRIDE)
        taps = filtered(leads, self.filters(pooled).view(n, N_LEADS, N_LEADS * len(TAPS)))
        variance = self.log_variance(h).clamp(-9.0, 4.0)
        facts = torch.cat([window, pooled, variance.mean(2)], dim=1).detach()
        return Output(
            leads=wave + taps,
            log_variance=variance,
            scale=scale,
            latent_mean=mean,
            latent_log_variance=log_variance,
            from_latent=from_latent,
            log_error=self.error(facts)[:, 0],
        )


def measure(
    leads: torch.Tensor, there: torch.Tensor, known: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Measure what is there.

    Gives the root mean square of each lead [batch, 8]; its logarithm against the limb leads, and whether that is
    known, [batch, 16]; and the size of the limb leads, or of all where there is none of them, [batch, 1, 1].
    """
    n_there = there.sum(2)
    any_there = n_there.clamp(max=1.0)
    size = torch.sqrt((leads**2).sum(2) / (n_there + 1.0) + 1e-7)
    limb = torch.cat([any_there[:, :2], torch.zeros_like(any_there[:, 2:])], dim=1)
    # Without a limb lead, all that is there stands for them.
    has_limb = limb.sum(1, keepdim=True).clamp(max=1.0)
    which = limb + any_there * (1.0 - has_limb)
    scale = (size * which).sum(1, keepdim=True) / which.sum(1, keepdim=True).clamp(min=1.0)
    told = any_there if known is None else any_there * known
    against = torch.log((size + TINY_MV) / (scale + TINY_MV)) * told
    return size + TINY_MV, torch.cat([against, told], dim=1), scale[:, :, None]


def interleave(x: torch.Tensor, stride: int) -> torch.Tensor:
    """Turn [batch, lead * stride, step] into [batch, lead, step * stride]."""
    n, _, n_steps = x.shape
    return x.view(n, N_LEADS, stride, n_steps).transpose(2, 3).reshape(n, N_LEADS, -1)


def filtered(leads: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Map the leads by [batch, lead, tap * lead] weights, each tap an offset of `TAPS`."""
    reach = max(TAPS)
    padded = F.pad(leads, (reach, reach))
    shifted = [padded[:, :, reach + tap : reach + tap + N_SAMPLES] for tap in TAPS]
    return torch.bmm(weights, torch.cat(shifted, dim=1))


class Shipped(nn.Module):
    """The network as it is exported: mV in; mV, deviations in mV, and two numbers about the window out."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give leads [1, 8, 2560], deviations [1, 8, 160] and (expected error, novelty) [1, 2]."""
        out = self.network(x)
        score = torch.stack([expected_error(out), novelty(x, out)], dim=1)
        return out.leads * out.scale, torch.exp(0.5 * out.log_variance) * out.scale, score


def expected_error(out: Output) -> torch.Tensor:
    """Give the root mean square error that is expected of the missing leads, mV."""
    return torch.exp(out.log_error) * out.scale[:, 0, 0]


def novelty(x: torch.Tensor, out: Output) -> torch.Tensor:
    """Tell what share of the power of the measured leads their latent does not give back."""
    there = x[:, N_LEADS:]
    leads = x[:, :N_LEADS] / out.scale
    off = ((leads - out.from_latent) ** 2 * there).sum((1, 2))
    return off / ((leads**2).sum((1, 2)) + 1e-3)


def cost(network: nn.Module, *inputs: torch.Tensor) -> tuple[int, int]:
    """Count multiply-accumulates of one window, and parameters."""
    total = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        steps = output.shape[-1] if isinstance(layer, nn.Conv1d) else 1
        total += layer.weight.numel() * steps

    layers = [m for m in network.modules() if isinstance(m, nn.Conv1d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    was_training = network.training
    network.eval()
    with torch.no_grad():
        network(*inputs)
    network.train(was_training)
    for handle in handles:
        handle.remove()
    return total, sum(p.numel() for p in network.parameters())
