"""Tests of the training of the model that draws a synthetic ECG."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from einthoven_training import surrogate, surrogate_data
from einthoven_training.surrogate_data import BEFORE, N_AROUND, N_BEAT, N_CHANNELS, Pulses


def pulses(n: int = 200) -> Pulses:
    """Make pulses whose beats are later the higher the wave is."""
    rng = np.random.default_rng(5)
    x = rng.normal(0, 1, (n, N_CHANNELS, N_AROUND)).astype(np.float32)
    high = rng.choice([-1.0, 1.0], n)
    x[:, 0] = high[:, None] + 0.1 * x[:, 0]
    bump = np.exp(-(((np.arange(N_BEAT) - BEFORE) / 3) ** 2))
    beat = (bump[None] * rng.uniform(0.8, 1.2, (n, 1))).astype(np.float32)
    late = (0.03 * high).astype(np.float32)
    record = np.array([f"r{k % 10}" for k in range(n)])
    return Pulses(x, beat, late, np.ones(n, np.float32), record, np.arange(n) % 5)


def test_a_record_has_its_fold_by_name() -> None:
    """Whatever other records there are."""
    folds = [surrogate_data.fold_of(f"a{k}s") for k in range(100, 400)]
    assert set(folds) == set(range(5))
    assert surrogate_data.fold_of("a103l") == surrogate_data.fold_of("a103l")


def test_the_axis_of_a_beat_stretches_around_its_qrs() -> None:
    """As QT does, by the square root of the interval, within limits."""
    tau = surrogate_data.axis(np.array([0.25, 1.0, 9.0]))
    assert np.allclose(tau[1], (np.arange(N_BEAT) - BEFORE) / 125)
    assert (tau[:, BEFORE] == 0).all()
    assert np.allclose(tau[:, BEFORE + 7], 7 / 125)
    rest = tau[1, -1] - 0.06
    assert np.isclose(tau[0, -1], 0.06 + rest * np.sqrt(0.3))
    assert np.isclose(tau[2, -1], 0.06 + rest * np.sqrt(2.0))


def test_each_pulse_has_one_beat() -> None:
    """The nearest, and none that is too far."""
    beat_of = surrogate_data.pairs(np.array([1.0, 1.2, 3.0]), np.array([1.11, 1.13, 2.8]))
    assert beat_of == {1: 1, 0: 0}


def test_what_is_seen_of_a_pulse() -> None:
    """The wave around it, the onsets, the intervals; nothing beyond the window."""
    wave = np.arange(500, dtype=np.float64)
    onsets = np.array([0.5, 1.31])
    before, after = surrogate_data.intervals(onsets)
    x = surrogate_data.seen(wave, onsets, onsets[0], before[0], after[0])
    assert np.isclose(x[0, 64], 25.0) and x[0, 38] == 0
    assert np.isclose(x[1].sum(), 2.0) and np.isclose(x[1, 64], 1.0)
    assert np.allclose(x[2:], 0.81)


def test_what_is_learnt_is_shipped_beside_the_template(tmp_path: Path) -> None:
    """A few steps tell late from early; the template is the mean beat and never late."""
    made = pulses()
    network = surrogate.fit(made, made.fold != 0, 1, steps=150)
    late, _ = surrogate.made_of(network, made.x)
    assert np.corrcoef(late, made.late)[0, 1] > 0.8
    path = tmp_path / "m.onnx"
    surrogate.write(network, "nothing", path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    out = session.run(None, {"pulse": made.x[:1]})[0]
    assert out.shape == (1, 2, 1 + N_BEAT)
    assert np.isclose(out[0, 0, 0], late[0], atol=1e-5)
    assert out[0, 1, 0] == 0 and np.allclose(out[0, 1, 1:], surrogate.mean_beat(made, made.fold != 0), atol=1e-6)
    assert 'kind = "surrogate"' in path.with_suffix(".toml").read_text()


def test_an_untrained_network_draws_the_template() -> None:
    """Whatever is not learnt is not made up."""
    network = surrogate.Network(np.ones(N_BEAT)).eval()
    with torch.no_grad():
        beats = network.decode(torch.randn(3, surrogate.N_LATENT))
    assert torch.equal(beats, torch.ones(3, N_BEAT))
