"""Tests of the classifier's training: of what can be wrong without anybody noticing."""

import tomllib

import numpy as np
import onnxruntime
import torch

from einthoven_training import augment, classify, judge, recordings, ship
from einthoven_training.classifier import N_EMBEDDING, N_LEADS, N_SAMPLES, Classifier, normalised, prepared
from einthoven_training.leads import TWELVE, twelve
from einthoven_training.model import cost
from einthoven_training.recordings import CLASSES, MEASURED, Recordings

WIDTHS = (32, 32, 32, 32)


def made(n: int, seed: int = 0) -> Recordings:
    """Make recordings of beats; every fifth has no label, and what has the first class beats twice as wide."""
    rng = np.random.default_rng(seed)
    classes = (rng.random((n, len(CLASSES))) < 0.4).astype(np.float32)
    classes[classes.sum(axis=1) == 0, 1] = 1
    width = np.where(classes[:, :1] > 0, 0.04, 0.02)
    t = np.arange(2560) / 250 % 0.8
    wave = np.exp(-(((t - 0.3) / width) ** 2))
    eight = rng.normal(0, 1, (n, 8, 1)) * wave[:, None] + rng.normal(0, 0.01, (n, 8, 2560))
    leads = twelve(torch.from_numpy(eight)).numpy().astype(np.float16)
    names = np.array([f"made/{k}" for k in range(n)])
    return Recordings(
        views={MEASURED: leads, **{recordings.view_of(leads_of): leads for leads_of in recordings.COMPLETED}},
        classes=classes,
        labelled=np.arange(n) % 5 > 0,
        real=np.tile([30, 2530], (n, 1)),
        lawful=np.full(n, True),
        patient=np.array([f"p{k // 2}" for k in range(n)]),
        fold=np.where(np.arange(n) // 2 % 4 == 0, 9, 1),
        name=names,
    )


def test_superclasses_are_those_of_the_diagnostic_statements(tmp_path) -> None:
    """Any likelihood counts, statements that are no diagnosis do not, and several classes are possible."""
    (tmp_path / "scp_statements.csv").write_text(
        ",description,diagnostic,diagnostic_class\nNORM,n,1.0,NORM\nIMI,i,1.0,MI\nLAFB,l,1.0,CD\nSR,s,,\n"
    )
    (tmp_path / "ptbxl_database.csv").write_text(
        "ecg_id,scp_codes\n7,\"{'IMI': 0.0, 'LAFB': 100.0, 'SR': 0.0}\"\n8,{'SR': 0.0}\n"
    )
    found = recordings.ptbxl_classes(tmp_path)
    assert found["00007"].tolist() == [0, 1, 0, 1, 0]
    assert found["00008"].sum() == 0


def test_preparing_keeps_waves_and_takes_the_middle() -> None:
    """A wave within the band comes out at 100 Hz where it was; a flat lead comes out flat."""
    t = np.arange(2560) / 250
    windows = np.zeros((1, N_LEADS, 2560), dtype=np.float32)
    for lead, hertz in enumerate((0.7, 5, 12, 25, 38)):
        windows[0, lead] = (1 + lead) * np.sin(2 * np.pi * hertz * t)
    out = prepared(windows)
    at = 80 / 250 + np.arange(N_SAMPLES) / 100
    for lead, hertz in enumerate((0.7, 5, 12, 25, 38)):
        wanted = np.sin(2 * np.pi * hertz * at)
        wanted = (wanted - wanted.mean()) / wanted.std()
        assert np.abs(out[0, lead] - wanted).max() < 0.02, hertz
    assert np.abs(out[0, 5:]).max() == 0


def test_gain_of_a_lead_does_not_matter() -> None:
    """Any gain of any lead gives the same input."""
    leads = torch.from_numpy(made(2).views[MEASURED]).float()
    gains = torch.linspace(0.2, 5, N_LEADS)[None, :, None]
    assert torch.allclose(normalised(leads), normalised(leads * gains), atol=1e-3)


def test_pieces_obey_einthoven_and_lie_within_what_was_recorded(monkeypatch) -> None:
    """Turning the heart keeps III = II - I; padding is never seen."""
    monkeypatch.setattr(augment, "disturb", lambda leads, random: leads)
    own = made(64)
    leads = torch.from_numpy(own.views[MEASURED]).float()

    def piece(padding: float) -> torch.Tensor:
        leads[:, :, :30] = leads[:, :, 2530:] = padding
        random = torch.Generator().manual_seed(0)
        return classify.piece_of(leads, torch.from_numpy(own.real), torch.ones(64), 512, random)

    x = piece(0)
    assert torch.allclose(x, piece(1e3), atol=1e-2)
    i, ii, iii = x[:, 0], x[:, 1], x[:, 2]
    seen = (i.abs().amax(1) > 0) & (ii.abs().amax(1) > 0) & (iii.abs().amax(1) > 0)
    for row in torch.nonzero(seen)[:, 0].tolist():
        design = torch.stack([i[row], ii[row]], dim=1)
        off = iii[row] - design @ torch.linalg.lstsq(design, iii[row][:, None]).solution[:, 0]
        assert float(off.std()) < 0.02


def test_the_network_is_as_small_as_it_may_be() -> None:
    """No more than 6 million multiply-accumulates a window: a quarter of a millisecond."""
    assert cost(Classifier(len(CLASSES)), torch.zeros(1, N_LEADS, N_SAMPLES))[0] < 6e6


def test_figures_are_those_of_the_textbook() -> None:
    """AUC with ties, Platt's fit, threshold, limit and calibration error, on numbers that can be checked."""
    assert judge.auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert judge.auc(np.array([0, 1]), np.array([0.5, 0.5])) == 0.5
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 2, 20_000)
    truth = (rng.random(20_000) < judge.sigmoid(0.7 * logit - 1)).astype(float)
    a, b = judge.platt(truth, logit)
    assert abs(a - 0.7) < 0.05 and abs(b + 1) < 0.05
    p = judge.sigmoid(a * logit + b)[:, None]
    assert judge.calibration_error(truth[:, None], p) < 0.01
    assert judge.calibration_error(truth[:, None], np.full_like(p, 0.9)) > 0.4
    assert judge.best_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.6, 0.8])) == (0.5, 1.0)
    limit = judge.conformal_limit(truth, p[:, 0])
    assert abs((p[truth > 0, 0] >= limit).mean() - 0.9) < 0.01


def test_medoids_are_in_the_middle_of_their_groups() -> None:
    """Two directions, two prototypes."""
    embeddings = np.array([[1, 0.0], [1, 0.1], [1, 0.2], [0.0, 1], [0.1, 1], [0.2, 1]])
    assert judge.medoids(embeddings, 2).tolist() == [1, 4]


def test_a_run_trains_and_ships_and_repeats(tmp_path, monkeypatch) -> None:
    """From recordings to manifest; what is held out is never trained on; a second run takes what the first kept."""
    monkeypatch.setattr(classify, "RECIPE", classify.Recipe(1, WIDTHS))
    monkeypatch.setattr(judge, "N_RESAMPLED", 10)
    everything = made(240)
    run = classify.Run(everything, tmp_path, 0, 9)
    assert not set(everything.patient[run.train]) & set(everything.patient[run.test])
    assert everything.labelled[run.train].all() and (everything.fold[run.train] != 9).all()
    for part in range(classify.N_PARTS):
        inside = run.part == part
        assert not set(everything.patient[run.train[inside]]) & set(everything.patient[run.train[~inside]])
    network, said = run.networks()
    labels = classify.evidence(run, said)
    figures = classify.report(run, said, network, labels)
    assert 0 <= figures[MEASURED]["auc"][-1] <= 1
    shown = [ship.Prototype("made/1", ["MI"], np.full(N_EMBEDDING, 0.125))]
    ship.write(network, labels, shown, "made (1 recordings)", tmp_path, tmp_path)
    manifest = tomllib.loads((tmp_path / f"{ship.NAME}.toml").read_text())
    assert [label["name"] for label in manifest["labels"]] == [name.lower() for name in CLASSES]
    assert manifest["input"]["leads"] == list(TWELVE)
    session = onnxruntime.InferenceSession(tmp_path / f"{ship.NAME}.onnx", providers=["CPUExecutionProvider"])
    x = run.prepared[MEASURED][:1]
    logits, embedding = session.run(None, {"leads": x})
    with torch.no_grad():
        wanted = network(torch.from_numpy(x))
    assert np.abs(logits - wanted[0].numpy()).max() < 1e-4
    assert np.abs(embedding - wanted[1].numpy()).max() < 1e-4
    again, _ = classify.Run(everything, tmp_path, 0, 9).networks()
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
