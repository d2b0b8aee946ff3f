"""Tests of the training of the model of pulse waves."""

import numpy as np
import torch

from einthoven_training import ppg, ppg_beats, ppg_prepare, ppg_recorded, ppg_synthesis
from einthoven_training.ppg_beats import AF, LABELS, PAC, PVC, SINUS, SVT, VT


def material() -> ppg_synthesis.Material:
    """Make one pulse and some noise."""
    rng = np.random.default_rng(3)
    shape = np.maximum(0, np.sin(np.linspace(0, np.pi, 128)))[None]
    return ppg_synthesis.Material(shape, np.array([0.8]), rng.normal(0, 1, (3, 1000)))


def test_preparation_takes_away_unit_offset_and_what_is_out_of_band() -> None:
    """A sine within the band keeps its phase, at any rate; one outside is gone beside it."""
    for rate in (50, 100, 250):
        t = np.arange(10 * rate) / rate
        wave = np.sin(2 * np.pi * 1.3 * t)
        slow = 5 * np.sin(2 * np.pi * 0.05 * t)
        x = ppg_prepare.prepared(np.stack([wave, 40 + 1e-3 * (wave + slow), 0 * wave, 0 * wave + 1e6]), rate)
        assert x.shape == (4, 500)
        middle = slice(100, 400)
        expected = np.sin(2 * np.pi * 1.3 * np.arange(500) / 50)
        assert np.corrcoef(x[0][middle], expected[middle])[0, 1] > 0.999
        assert np.abs(x[0][middle] - x[1][middle]).max() < 0.2
        assert not x[2:].any()


def test_a_wave_that_points_down_is_turned_over() -> None:
    """By its slopes alone; one that falls as fast as it rises is left as it is."""
    t = np.arange(1000) / 100
    phase = (t * 1.3) % 1
    wave = (phase / 0.12) ** 2 * np.exp(-phase / 0.12)
    x = ppg_prepare.prepared(np.stack([wave, 50 - wave, np.sin(8 * t)]), 100)
    assert np.abs(x[0] - x[1]).max() < 1e-4
    assert not ppg_prepare.points_down(np.array([np.sin(0.16 * np.arange(500))]))[0]


def test_labels_of_segments() -> None:
    """By what is in them, and none where that is mixed."""

    def label(kinds: str, rhythm: str = "N", rr: float = 0.8) -> int | None:
        n = len(kinds)
        jitter = np.where(np.arange(n) % 3 == 0, 0.15, 0.0) if rhythm == "AF" else 0.0
        return ppg_beats.label_of(np.arange(n) * rr + jitter, np.array(list(kinds)), np.array([rhythm] * n))

    assert label("NNNNNNNN") == SINUS
    assert label("NNVNNNVN") == PVC
    assert label("NNSNNNSN") == PAC
    assert label("NNVNNSNN") is None
    assert label("NNUNNNNN") is None
    assert label("NNVVVVNN", rr=0.45) == VT
    assert label("SSSSSSSS", "SVT") == SVT
    assert label("SSSSSSVS", "AF") == AF
    assert ppg_beats.label_of(np.arange(8) * 0.6, np.array(["S"] * 8), np.array(["AF"] * 8)) is None


def test_rules_make_sequences_of_every_label() -> None:
    """In order, covering the segment, with what the label promises in it."""
    maker = ppg_beats.Maker(np.random.default_rng(1))
    for label in range(len(LABELS)):
        for _ in range(40):
            sequence = maker.sequence(label)
            assert (np.diff(sequence.times) > 0.2).all()
            assert sequence.times[0] < -2 and sequence.times[-1] > 9
            inside = (sequence.times >= 0) & (sequence.times < 10)
            assert (sequence.kinds[inside] == "V").any() or label not in (PVC, VT)


def test_synthesis_gives_waves_and_says_what_is_destroyed() -> None:
    """Numbers of the right shape; some of them usable."""
    rng = np.random.default_rng(2)
    maker = ppg_beats.Maker(rng)
    x, usable = ppg_synthesis.make([maker.sequence(k % 6) for k in range(60)], rng, material())
    assert x.shape == (60, 500) and np.isfinite(x).all()
    assert (usable >= 0).all() and (usable <= 1).all() and usable.mean() > 0.5


def test_noise_makes_a_wave_unusable() -> None:
    """Seconds with as much noise as pulse are counted."""
    t = np.arange(1000) / 100
    clean = np.sin(2 * np.pi * 1.2 * t)[None]
    burst = np.where(t < 5, np.sin(2 * np.pi * 3.1 * t), 0)[None]
    assert ppg_synthesis.usable_of(clean, clean)[0] == 1
    assert 0.3 < ppg_synthesis.usable_of(clean + 2 * burst, clean)[0] < 0.7


def test_held_out_patients_are_a_fifth_and_stay() -> None:
    """By name alone."""
    names = [f"vitaldb/{k}" for k in range(2000)]
    held = [ppg_beats.held_out(name) for name in names]
    assert 0.15 < np.mean(held) < 0.25
    assert held == [ppg_beats.held_out(name) for name in names]


def test_the_network_answers_seven_numbers() -> None:
    """And augmenting keeps the shape."""
    network = ppg.Network().eval()
    x = ppg.augment(torch.randn(4, 1, 500), np.random.default_rng(0))
    assert x.shape == (4, 1, 500)
    assert network(x).shape == (4, 7)


def test_an_echo_tells_pulses_from_noise() -> None:
    """A regular wave is like itself a beat later."""
    t = np.arange(500) / 50
    assert ppg_recorded.echo(np.sin(2 * np.pi * 1.2 * t)) > 0.8
    assert ppg_recorded.echo(np.random.default_rng(1).normal(0, 1, 500)) < 0.4
