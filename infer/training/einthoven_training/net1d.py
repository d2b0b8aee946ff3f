"""The architecture of ECGFounder, to bring its weights and to prove that a model of its size and contract runs.

    python -m einthoven_training.net1d full FOLDER [--weights FILE]   # 30.8 M parameters, 150 labels
    python -m einthoven_training.net1d small FOLDER                   # the same blocks, a fixture of the tests

A Net1D (Hong et al., "HOLMES", KDD 2020, doi:10.1145/3394486.3403212; "ENCASE", CinC 2017): a stem, then stages of
residual bottlenecks whose middle convolution is grouped and whose output is gated per channel (squeeze and excitation,
Hu et al. 2018). ECGFounder (Li et al. 2024, arXiv:2410.04133) is one of seven stages for 12 leads of 10 s at 500 Hz,
trained without batch normalisation and dropout. Parameters go by the names of the published checkpoint. Without
`--weights` they are random and seeded: such a model says nothing about anybody.
"""

import argparse
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn import functional

from einthoven_training.export import write_onnx
from einthoven_training.leads import TWELVE

RATE_HZ = 500
N_SAMPLES = 5000
N_LABELS = 150
KERNEL = 16
GROUP_WIDTH = 16
# Channels of the stem, and channels and blocks of each stage.
FULL = (64, (64, 160, 160, 400, 400, 1024, 1024), (2, 2, 2, 3, 3, 4, 4))
SMALL = (16, (16, 16, 16, 16, 16, 32), (1, 1, 1, 1, 2, 1))


def padded(x: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """Put zeros around samples; nothing where there are none, which keeps the exported graph small."""
    return functional.pad(x, (before, after)) if before or after else x


class Same(nn.Module):
    """A convolution that shortens by its stride and by nothing else: zeros around, the odd one after."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels_out, kernel, stride, groups=groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take [batch, channel, n] to [batch, channel, ceil(n / stride)]."""
        # A plain number: the lengths are fixed in what is exported.
        n, (kernel,), (stride,) = int(x.shape[-1]), self.conv.kernel_size, self.conv.stride
        missing = max(0, (-(-n // stride) - 1) * stride + kernel - n)
        return self.conv(padded(x, missing // 2, missing - missing // 2))


class Block(nn.Module):
    """A residual bottleneck: 1, k (grouped, may halve the length), 1; then a gate for each channel."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, first: bool):
        super().__init__()
        self.stride, self.first = stride, first
        self.conv1 = Same(channels_in, channels_out)
        self.conv2 = Same(channels_out, channels_out, KERNEL, stride, channels_out // GROUP_WIDTH)
        self.conv3 = Same(channels_out, channels_out)
        self.se_fc1 = nn.Linear(channels_out, channels_out // 2)
        self.se_fc2 = nn.Linear(channels_out // 2, channels_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take [batch, channel, n] to [batch, channel, ceil(n / stride)]."""
        # The stem has been activated already.
        y = self.conv1(x if self.first else functional.silu(x))
        y = self.conv3(functional.silu(self.conv2(functional.silu(y))))
        gate = self.se_fc2(functional.silu(self.se_fc1(y.mean(-1))))
        y = y * torch.sigmoid(gate).unsqueeze(-1)
        if self.stride > 1:
            # Shortens and rounds up: what is beyond the end is zero.
            x = functional.max_pool1d(padded(x, 0, -int(x.shape[-1]) % self.stride), self.stride)
        wider = int(y.shape[1]) - int(x.shape[1])
        return y + (functional.pad(x, (0, 0, wider // 2, wider - wider // 2)) if wider else x)


class Stage(nn.Module):
    """Blocks of one width; the first halves the length."""

    def __init__(self, channels_in: int, channels_out: int, n_blocks: int, first: bool):
        super().__init__()
        self.block_list = nn.Sequential(
            *(
                Block(channels_out if k else channels_in, channels_out, 1 if k else 2, first and k == 0)
                for k in range(n_blocks)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take [batch, channel, n] to [batch, channel, ceil(n / 2)]."""
        return self.block_list(x)


class Net1D(nn.Module):
    """From [batch, lead, sample] to logits [batch, label]."""

    def __init__(self, stem: int, widths: Sequence[int], blocks: Sequence[int], n_labels: int = N_LABELS):
        super().__init__()
        self.first_conv = Same(len(TWELVE), stem, KERNEL, 2)
        before = (stem, *widths)
        self.stage_list = nn.Sequential(*(Stage(before[k], widths[k], blocks[k], k == 0) for k in range(len(widths))))
        self.dense = nn.Linear(widths[-1], n_labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take 12 leads, prepared, to logits."""
        x = functional.silu(self.first_conv(x))
        return self.dense(self.stage_list(x).mean(-1))


def load(network: Net1D, weights: Path) -> None:
    """Load a published checkpoint; it also holds batch normalisations that were never used."""
    state = torch.load(weights, map_location="cpu", weights_only=True)
    state = state.get("state_dict", state)
    lost, unused = network.load_state_dict(state, strict=False)
    unused = [name for name in unused if ".bn" not in name and "first_bn" not in name]
    if lost or unused:
        raise ValueError(f"{weights}: without {lost}, and with {unused}")


def manifest(name: str, onnx_file: Path, weights: Path | None) -> str:
    """Write what the door needs to know; thresholds and calibrations are to be fitted on recordings of one's own."""
    digest = sha256(onnx_file.read_bytes()).hexdigest()
    origin = "see the licence and paper of ECGFounder" if weights else "none: random weights"
    text = f"""\
# Made by `python -m einthoven_training.net1d`.
name = "{name}"
version = "1.0.0"
kind = "classify"
licence = "{"see ECGFounder" if weights else "CC0-1.0"}"
training_data = "{origin}"

[onnx]
file = "{onnx_file.name}"
sha256 = "{digest}"

# Too slow for every window of every device.
[run]
when = "alarm"

[input]
layout = "[1, lead, sample]"
leads = [{", ".join(f'"{lead}"' for lead in TWELVE)}]
rate_hz = {RATE_HZ}.0
n_samples = {N_SAMPLES}

[prepare]
notch_hz = 50.0
band_hz = [0.67, 40.0]
baseline_s = 0.4
normalise = "record"

[output]
activation = "sigmoid"
"""
    for k in range(N_LABELS):
        text += f"""
[[labels]]
name = "label_{k}"
text = "Label {k}"
calibration = [1.0, 0.0]
threshold = 0.5
"""
    return text


def given() -> np.ndarray:
    """Make up an input of the contract's shape that can be made again without a file: [1, 12, 5000], about z-scores.

    Whole numbers and one division, so that every language makes the same.
    """
    lead, sample = np.meshgrid(np.arange(12), np.arange(N_SAMPLES), indexing="ij")
    return ((((sample * (7 + lead)) % 401) - 200) / np.float32(100)).astype(np.float32)[None]


def export(name: str, shape: tuple, folder: Path, weights: Path | None) -> None:
    """Write the ONNX file, its manifest, and what onnxruntime makes of the made-up input."""
    torch.manual_seed(2410)
    torch.set_num_threads(1)
    network = Net1D(*shape).eval()
    if weights:
        load(network, weights)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.onnx"
    write_onnx(network, torch.from_numpy(given()), path, ["leads"], ["logits"])
    path.with_suffix(".toml").write_text(manifest(name, path, weights))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"leads": given()})
    path.with_suffix(".output.f32").write_bytes(logits.astype("<f4").tobytes())
    start = time.perf_counter()
    for _ in range(5):
        session.run(None, {"leads": given()})
    ms = (time.perf_counter() - start) / 5 * 1e3
    n = sum(parameter.numel() for parameter in network.parameters())
    print(
        f"{path}: {n / 1e6:.2f} M parameters, {path.stat().st_size / 1e6:.2f} MB, onnxruntime {ms:.0f} ms on one thread"
    )


def main() -> None:
    """Write one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=["full", "small"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, help="a checkpoint of ECGFounder, for `full`")
    args = parser.parse_args()
    if args.size == "full":
        export("ecgfounder", FULL, args.folder, args.weights)
    else:
        export("net1d-small", SMALL, args.folder, None)


if __name__ == "__main__":
    main()
