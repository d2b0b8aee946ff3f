"""Tests of the training of the rhythm model."""

import lightgbm
import numpy as np
import torch

from einthoven_training import rhythm


def stretches(n: int, seed: int = 1) -> rhythm.Stretches:
    """Make stretches of noise, two of each record."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, rhythm.N_INPUT), dtype=np.float32)
    x[:, : rhythm.N_SAMPLES] = rng.normal(0, 0.3, (n, rhythm.N_SAMPLES))
    x[:, -2 * rhythm.N_FEATURES : -rhythm.N_FEATURES] = rng.normal(0, 1, (n, rhythm.N_FEATURES))
    x[:, -rhythm.N_FEATURES :] = rng.random((n, rhythm.N_FEATURES)) < 0.9
    x[:, -2 * rhythm.N_FEATURES : -rhythm.N_FEATURES] *= x[:, -rhythm.N_FEATURES :]
    record = np.array([f"r{k // 2}" for k in range(n)])
    end = np.where(np.arange(n) % 2 == 1, 30.0, 15.0)
    return rhythm.Stretches(x, record, np.zeros(n), end, (end > 20).astype(float))


def test_trees_as_tensors_say_what_lightgbm_says() -> None:
    """Unknown numbers included."""
    data = stretches(400)
    label = (data.x[:, -2 * rhythm.N_FEATURES] > 0).astype(int) + 2 * (np.arange(400) % 3 == 0)
    booster = rhythm.boost(data, label, np.ones(400, dtype=bool), 0)
    assert isinstance(booster, lightgbm.Booster)
    expected = rhythm.trees_say(booster, data, np.arange(400) < 40)
    trees = rhythm.Trees(booster)
    for k in range(40):
        found = trees(torch.from_numpy(data.x[k])[None, None])
        assert np.abs(found.numpy()[0] - expected[k]).max() < 1e-4


def test_augmenting_keeps_shape_and_what_is_missing() -> None:
    """Where there is no wave, none is made up; nothing else gets other numbers."""
    data = stretches(8)
    x = torch.from_numpy(data.x)[:, None]
    x[:, :, :1000] = 0
    changed = rhythm.augment(x, np.random.default_rng(3))
    assert changed.shape == x.shape
    assert torch.isfinite(changed).all()
    # A wave is shifted by less than a step, around the end.
    assert not changed[:, :, rhythm.STEP : 990].any()
    known = changed[:, 0, -rhythm.N_FEATURES :]
    assert (known <= x[:, 0, -rhythm.N_FEATURES :]).all()


def test_folds_are_of_records_and_alike() -> None:
    """Each label is spread evenly, the same every time."""
    reference = {f"r{k}": k % 4 for k in range(403)}
    folds = rhythm.folds_of(reference)
    assert folds == rhythm.folds_of(dict(reversed(reference.items())))
    counts = np.zeros((rhythm.N_FOLDS, 4))
    for name, fold in folds.items():
        counts[fold, reference[name]] += 1
    assert counts.max() - counts.min() <= 2


def test_the_stack_finds_which_part_is_right() -> None:
    """A part that says nothing gets no weight."""
    rng = np.random.default_rng(5)
    label = rng.integers(0, 4, 2000)
    right = 2.0 * np.eye(4)[label] + rng.normal(0, 1, (2000, 4))
    stack = rhythm.fit_stack(right, rng.normal(0, 1, (2000, 4)), label, np.ones(2000))
    assert stack[0] > 0.8
    assert abs(stack[1]) < 0.2


def test_f1_by_hand() -> None:
    """Two of three right, one false."""
    truth, said = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert np.allclose(rhythm.f1_of(truth, said)[:2], [0.8, 2 / 3])


def test_the_names_of_numbers_come_from_the_service() -> None:
    """As many as the model takes, the first of them seconds."""
    names = rhythm.numbers_of()
    assert len(set(names)) == rhythm.N_FEATURES
    assert names[0] == "seconds"
