"""Fit the network of dsp/src/delineate to LUDB: `python dsp/training/delineate.py DATA OUT [FOLD]`.

DATA is the folder with the records, OUT the file of weights to write. With FOLD, 0 to 4, every fifth
record is left out, so that `einthoven evaluate delineate --weights OUT` on those tells what is to be
expected of patients never seen; without it all records are used, which gives `weights.bin`.
Needs numpy, torch and wfdb, and cargo for the service's own resampling and R peaks.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import wfdb
from torch import nn

RATE, LENGTH = 125, 288
CHANNELS = (8, 12, 16, 24)
EPOCHS, BATCH, CROPS, RATE_MAX = 40, 32, 4, 8e-3
# Hann weights of the moving mean, as in `prepare` of delineate.rs.
MEAN = np.hanning(127)[1:-1].astype(np.float32)


def prepared(lead: np.ndarray, hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Resample a lead, scaled to 1 mV: samples and R peaks at 125 Hz, by the service's own code."""
    lead = (lead - lead.min()) / max(np.ptp(lead), 1)
    command = ["cargo", "run", "-q", "--release", "-p", "dsp", "--example", "delineation_input"]
    raw = lead.astype("<f4").tobytes()
    out = subprocess.run([*command, str(hz)], input=raw, stdout=subprocess.PIPE, check=True).stdout
    n = int(np.frombuffer(out[:8], "<u8")[0])
    return np.frombuffer(out[8 : 8 + 4 * n], "<f4"), np.frombuffer(out[8 + 4 * n :], "<f8")


def targets(path: str, extension: str, hz: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of each sample that each class covers, [4, n], and where the annotation is complete."""
    marks = wfdb.rdann(path, extension)
    at, symbols = marks.sample * RATE / hz, marks.symbol
    share, mask, cell = np.zeros((4, n)), np.zeros(n), np.arange(n)
    qrs = [k for k, symbol in enumerate(symbols) if symbol == "N"]
    begin = at[qrs[0] - 1] if qrs[0] and symbols[qrs[0] - 1] == "(" else at[qrs[0]]
    last = qrs[-1] + (symbols[qrs[-1] + 1 : qrs[-1] + 2] == [")"])
    mask[int(begin) : int(at[last]) + 1] = 1
    for k, symbol in enumerate(symbols):
        if symbol not in "pNt":
            continue
        onset = at[k - 1] if k and symbols[k - 1] == "(" else None
        offset = at[k + 1] if symbols[k + 1 : k + 2] == [")"] else None
        if onset is None or offset is None:
            low = at[k] - 18 if onset is None else onset
            high = at[k] + 18 if offset is None else offset
            mask[max(0, int(low)) : int(high) + 1] = 0
            continue
        covered = np.minimum(cell + 0.5, offset) - np.maximum(cell - 0.5, onset)
        row = share["pNt".index(symbol) + 1]
        np.maximum(row, np.clip(covered, 0, 1), out=row)
    share[0] = np.clip(1 - share[1:].sum(0), 0, 1)
    return share / share.sum(0), mask


class Convolution(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        padding = kernel // 2 * dilation
        self.weights = nn.Conv1d(
            inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False
        )
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, inputs, n] to [batch, outputs, n]."""
        return F.relu(self.norm(self.weights(x)))

    def folded(self) -> list[torch.Tensor]:
        """Weights and biases with the normalisation in them."""
        gain = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        bias = self.norm.bias - self.norm.running_mean * gain
        return [self.weights.weight * gain[:, None, None], bias]


class Network(nn.Module):
    """The network of network.rs, layers in the order of its weights."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = CHANNELS
        self.layers = nn.ModuleList(
            [
                Convolution(2, a, 7),
                Convolution(a, b, 5),
                Convolution(b, c, 5),
                Convolution(c, d, 5),
                Convolution(d, d, 5, 2),
                Convolution(d + c, c, 3),
                Convolution(c + b, b, 3),
                Convolution(b + a, a, 3),
            ]
        )
        self.head = nn.Conv1d(a, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, 2, n] to the scores of the classes, [batch, 4, n]."""
        kept = [self.layers[0](x)]
        for layer in self.layers[1:4]:
            kept.append(layer(F.max_pool1d(kept[-1], 2)))
        x = self.layers[4](kept.pop())
        for layer in self.layers[5:]:
            x = layer(torch.cat([x.repeat_interleave(2, -1), kept.pop()], 1))
        return self.head(x)

    def export(self) -> np.ndarray:
        """All weights as network.rs takes them."""
        parts = [part for layer in self.layers for part in layer.folded()]
        parts += [self.head.weight, self.head.bias]
        return torch.cat([part.detach().flatten() for part in parts]).numpy().astype("<f4")


def crop(lead: tuple, rng: np.random.RandomState) -> tuple[np.ndarray, ...]:
    """Cut a window anywhere, stretched, scaled, with drift and noise: input, target, mask."""
    samples, peaks, share, mask = lead
    stretch = np.exp((rng.rand() - 0.5) * 0.5) if rng.rand() < 0.6 else 1.0
    start = rng.randint(0, len(samples) - int(LENGTH * stretch) + 1)
    at, own, k = start + np.arange(LENGTH) * stretch, np.arange(len(samples)), np.arange(LENGTH)
    x = np.interp(at, own, samples)
    y = np.stack([np.interp(at, own, row) for row in share])
    m = (np.interp(at, own, mask) > 0.999).astype(np.float32)
    m[:16] = m[-16:] = 0
    # R peaks late in a window are not known yet when it is judged.
    peaks = (peaks - start) / stretch
    peaks = peaks[(peaks >= 0) & (peaks < LENGTH - rng.randint(30, 60))]
    heights = [np.ptp(x[max(0, int(p + 0.5) - 8) : int(p + 0.5) + 9]) for p in peaks]
    if not heights:
        m[:] = 0
    x = x / max(np.mean(heights or [1]), 1e-6) * np.exp(rng.randn() * 0.2)
    drift = np.sin(2 * np.pi * ((rng.rand() * 0.5 + 0.05) * k / RATE + rng.rand()))
    noise = rng.randn(LENGTH) * rng.rand() ** 3 * 0.08
    if rng.rand() < 0.5:
        noise = np.convolve(noise, [0.33] * 3, "same") * 1.7
    x = x + rng.rand() ** 2 * 0.3 * drift + noise
    total = np.convolve(np.ones(LENGTH), MEAN, "same")
    x = x - np.convolve(x, MEAN, "same") / total
    marks = np.zeros(LENGTH)
    for p in peaks + rng.randn(len(peaks)) * 0.7:
        marks = np.maximum(marks, 1 - np.abs(k - p) / 4)
    return np.stack([x, marks]), y, m


def main() -> None:
    """Read, fit, write."""
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    fold = int(sys.argv[3]) if len(sys.argv) > 3 else None
    headers = sorted(data.glob("*.hea"), key=lambda path: int(path.stem))
    if not headers:
        raise SystemExit(f"no records in {data}")
    leads = []
    for k, header in enumerate(headers):
        if fold is not None and k % 5 == fold:
            continue
        path = str(header.with_suffix(""))
        record = wfdb.rdrecord(path, physical=False)
        for column, name in enumerate(record.sig_name):
            samples, peaks = prepared(record.d_signal[:, column].astype(float), record.fs)
            leads.append((samples, peaks, *targets(path, name, record.fs, len(samples))))
    torch.manual_seed(fold or 0)
    rng = np.random.RandomState(fold or 0)
    network = Network()
    steps = len(leads) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE_MAX, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE_MAX, total_steps=EPOCHS * steps, pct_start=0.15
    )
    for epoch in range(EPOCHS):
        total = 0.0
        for batch in rng.permutation(len(leads))[: steps * BATCH].reshape(steps, BATCH):
            crops = [crop(leads[k], rng) for k in batch for _ in range(CROPS)]
            x, y, m = (
                torch.tensor(np.array(part), dtype=torch.float32)
                for part in zip(*crops, strict=True)
            )
            loss = -(y * F.log_softmax(network(x), 1)).sum(1)
            loss = (loss * m).sum() / m.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch} loss {total / steps:.4f}", flush=True)
    network.eval()
    out.write_bytes(network.export().tobytes())


if __name__ == "__main__":
    main()
