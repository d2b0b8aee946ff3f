"""Tests of what can be wrong without anybody noticing."""

import numpy as np
import onnxruntime
import torch

from einthoven_training import augment, data, export, figures, scales
from einthoven_training.leads import EIGHT, SETS, TWELVE, missing_of, rows_of, twelve
from einthoven_training.model import N_LEADS, N_SAMPLES, Network, Shipped
from einthoven_training.train import correlation, loss_of


def beats(n: int, seed: int = 0) -> np.ndarray:
    """Make [n, 8, sample] of beats, different in each lead and window."""
    rng = np.random.default_rng(seed)
    t = np.arange(N_SAMPLES) / 250 % 0.8
    waves = np.stack([np.exp(-(((t - at) / width) ** 2)) for at, width in ((0.3, 0.012), (0.14, 0.03), (0.55, 0.05))])
    weights = rng.normal(0, [1.0, 0.1, 0.3], (n, N_LEADS, 3))
    return (weights @ waves + rng.normal(0, 0.002, (n, N_LEADS, N_SAMPLES))).astype(np.float32)


def windows(n: int) -> data.Windows:
    """Wrap beats as windows of one database."""
    names = np.array([f"p{k}" for k in range(n)])
    real = np.tile([30, 2530], (n, 1))
    ones = np.ones(n, dtype=np.int64)
    return data.Windows(beats(n), real, ones.astype(bool), names, ones, np.full(n, "ptbxl"))


def test_limb_leads_follow_from_i_and_ii() -> None:
    """Einthoven and Goldberger, in the order of the twelve."""
    full = twelve(torch.from_numpy(beats(2)))
    lead = {name: full[:, row] for row, name in enumerate(TWELVE)}
    assert torch.allclose(lead["III"], lead["II"] - lead["I"])
    assert torch.allclose(lead["aVR"] + lead["aVL"] + lead["aVF"], torch.zeros(1), atol=1e-5)
    assert torch.equal(full[:, [TWELVE.index(name) for name in EIGHT]], torch.from_numpy(beats(2)))
    assert missing_of(("I", "II")) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]


def test_gain_does_not_matter_and_order_in_a_batch_neither() -> None:
    """Twice the signal is twice the answer; a window does not see its neighbours."""
    torch.manual_seed(0)
    network = Network().eval()
    leads = torch.from_numpy(beats(3))
    there = torch.zeros_like(leads)
    there[:, rows_of(("II", "V1", "V5"))] = 1.0

    def run(leads: torch.Tensor) -> torch.Tensor:
        out = network(torch.cat([leads * there[: len(leads)], there[: len(leads)]], dim=1))
        return out.leads * out.scale

    with torch.no_grad():
        once, twice, alone = run(leads), run(2 * leads), run(leads[1:2])
    assert torch.allclose(2 * once, twice, rtol=1e-2, atol=2e-3)
    assert torch.allclose(once[1:2], alone, atol=1e-5)


def test_what_is_not_there_is_not_seen() -> None:
    """Leads that are masked cannot leak into the answer, in training or after."""
    network = Network().eval()
    leads = torch.from_numpy(beats(1))
    there = torch.zeros_like(leads)
    there[:, rows_of(("II", "V1", "V5"))] = 1.0
    other = leads.clone()
    other[:, rows_of(("I", "V2"))] += 1.0
    with torch.no_grad():
        a, b = (network(torch.cat([x * there, there], dim=1)).leads for x in (leads, other))
    assert torch.equal(a, b)


def test_r_is_that_of_pearson_over_what_is_real() -> None:
    """Samples without weight do not count."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1, 500)).astype(np.float32)
    weight = np.ones((1, 500), dtype=np.float32)
    weight[:, 400:] = 0
    b[:, 400:] = 100
    r = correlation(*map(torch.from_numpy, (a, b, weight)))
    assert abs(float(r) - np.corrcoef(a[0, :400], b[0, :400])[0, 1]) < 1e-5


def test_a_perfect_answer_has_no_error() -> None:
    """The part of the loss that is 1 - r is zero for the truth, and exact leads do not dilute it."""
    truth = torch.from_numpy(beats(4))
    there = augment.masks(4, N_SAMPLES, np.random.default_rng(0))
    network = Network().eval()
    with torch.no_grad():
        out = network(torch.cat([truth * there, there], dim=1))
    perfect = out._replace(leads=truth / out.scale)
    real, scaled = torch.ones(4, N_SAMPLES), torch.ones(4)
    assert float(loss_of(perfect, truth, there, real, scaled)[1]) < 1e-4
    wrong = out._replace(leads=-truth / out.scale)
    assert float(loss_of(wrong, truth, there, real, scaled)[1]) > 0.5


def test_masks_have_a_limb_lead_and_the_sets_that_ship() -> None:
    """Every mask ties the chest to the limbs, and each set comes up."""
    there = augment.masks(400, 100, np.random.default_rng(0)).amax(2)
    assert bool((there[:, :2].amax(1) == 1).all())
    seen = {tuple(np.flatnonzero(row)) for row in there.numpy()}
    assert {tuple(sorted(rows_of(leads))) for leads in SETS} <= seen


def test_varied_windows_stay_finite_and_say_what_is_real() -> None:
    """What is beyond the recording is never real."""
    made = windows(8)
    random = torch.Generator().manual_seed(0)
    leads, real = augment.vary(torch.from_numpy(made.leads), torch.from_numpy(made.real), random)
    assert bool(torch.isfinite(augment.disturb(leads, random)).all())
    assert bool(((real.sum(1) > 1800) & (real.sum(1) <= N_SAMPLES)).all())


def test_limb_scales_come_back_exactly() -> None:
    """Leads scaled each by itself get their ratios back from the laws that bind them."""
    truth = twelve(torch.from_numpy(beats(6))).numpy()
    z = truth / truth.std(axis=2, keepdims=True)
    limb, good = scales.limb_leads(z)
    assert good.all()
    for found, wanted in zip(limb, truth, strict=True):
        ratio = found.std(axis=1) / wanted[:2].std(axis=1)
        assert abs(ratio[0] / ratio[1] - 1) < 1e-3
    restored, good = scales.restore(z, beats(40, seed=1))
    assert restored.shape == (6, N_LEADS, N_SAMPLES)
    assert good.all() and np.isfinite(restored).all()


def test_bands_hold_what_they_should() -> None:
    """On the windows they were fitted on, they hold nine in ten samples."""
    network, made = Network(), windows(6)
    sets = figures.calibrate(network, made)
    done = figures.complete(network, made, ("II",))
    off = figures.errors_in_deviations(made, done, 0)
    assert abs(np.mean(off <= sets[("II",)]["band"][0]) - 0.9) < 0.01


def test_the_export_says_what_the_network_says(tmp_path) -> None:
    """Through ONNX and onnxruntime, to a hundredth of a microvolt."""
    torch.manual_seed(0)
    network, made = Network().eval(), windows(3)
    export.write(network, figures.calibrate(network, made), made, "nothing", tmp_path, tmp_path)
    x = torch.zeros(1, 2 * N_LEADS, N_SAMPLES)
    rows = rows_of(("II", "V1", "V5"))
    x[:, rows] = torch.from_numpy(made.leads[:1, rows])
    x[:, [N_LEADS + row for row in rows]] = 1.0
    with torch.no_grad():
        wanted = Shipped(network)(x)
    session = onnxruntime.InferenceSession(tmp_path / f"{export.NAME}.onnx", providers=["CPUExecutionProvider"])
    for found, wanted_part in zip(session.run(None, {"measured": x.numpy()}), wanted, strict=True):
        assert np.abs(found - wanted_part.numpy()).max() < 1e-5
