"""How good a classifier is, how sure it may be, and what it can point to."""

import numpy as np

# The share of recordings with a class that its conformal limit keeps.
COVERAGE = 0.9
N_BINS = 10
N_RESAMPLED = 1000
N_PROTOTYPES = 6


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Turn logits into probabilities."""
    return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))


def auc(truth: np.ndarray, score: np.ndarray) -> float:
    """Compute the area under the ROC curve; ties count half. NaN without both kinds."""
    positive, negative = score[truth > 0], np.sort(score[truth <= 0])
    if not len(positive) or not len(negative):
        return float("nan")
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(below.mean() / (2 * len(negative)))


def aucs(truth: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Compute the area of each column, and at the end their mean."""
    own = [auc(truth[:, k], score[:, k]) for k in range(truth.shape[1])]
    return np.array([*own, np.mean(own)])


def resampled(patient: np.ndarray, n: int = N_RESAMPLED, seed: int = 1903) -> list[np.ndarray]:
    """Draw patients with replacement: the rows of each draw."""
    rng = np.random.default_rng(seed)
    _, of = np.unique(patient, return_inverse=True)
    rows = [np.flatnonzero(of == k) for k in range(of.max() + 1)]
    return [np.concatenate([rows[k] for k in rng.integers(0, len(rows), len(rows))]) for _ in range(n)]


def intervals(truth: np.ndarray, score: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Bootstrap 95 % intervals of `aucs` by patient: [2, class + 1]."""
    drawn = np.array([aucs(truth[rows], score[rows]) for rows in resampled(patient)])
    return np.nanpercentile(drawn, (2.5, 97.5), axis=0)


def difference(truth: np.ndarray, a: np.ndarray, b: np.ndarray, patient: np.ndarray) -> tuple[float, float, float]:
    """Compute by how much the mean area of `a` is above that of `b`, and the 95 % interval of that by patient."""
    drawn = [aucs(truth[rows], a[rows])[-1] - aucs(truth[rows], b[rows])[-1] for rows in resampled(patient)]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return float(aucs(truth, a)[-1] - aucs(truth, b)[-1]), float(low), float(high)


def calibration_error(truth: np.ndarray, probability: np.ndarray) -> float:
    """Compute the expected calibration error in ten bins of equal width, the mean over columns."""
    bins = np.minimum((probability * N_BINS).astype(int), N_BINS - 1)
    out = []
    for k in range(truth.shape[1]):
        said = np.bincount(bins[:, k], probability[:, k], N_BINS)
        true = np.bincount(bins[:, k], truth[:, k], N_BINS)
        out.append(np.abs(said - true).sum() / len(truth))
    return float(np.mean(out))


def calibration_error_by_chance(probability: np.ndarray, seed: int = 1903) -> float:
    """Compute the calibration error that so many recordings show when every probability is true."""
    rng = np.random.default_rng(seed)
    drawn = [calibration_error(rng.random(probability.shape) < probability, probability) for _ in range(200)]
    return float(np.mean(drawn))


def platt(truth: np.ndarray, logit: np.ndarray) -> tuple[float, float]:
    """Fit p = sigmoid(a * logit + b) by Newton's method, with Platt's cautious targets."""
    n_true, n_false = (truth > 0).sum(), (truth <= 0).sum()
    wanted = np.where(truth > 0, (n_true + 1) / (n_true + 2), 1 / (n_false + 2))
    design = np.stack([logit, np.ones_like(logit)], axis=1).astype(np.float64)
    weights = np.array([1.0, 0.0])
    for _ in range(50):
        p = sigmoid(design @ weights)
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, design.T @ (p - wanted))
        # Far from the answer a whole step may go too far.
        weights -= step / max(1.0, np.abs(step).max())
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1])


def calibrated(logits: np.ndarray, fitted: list[tuple[float, float]]) -> np.ndarray:
    """Apply what `platt` fitted to each column."""
    a, b = np.array(fitted).T
    return sigmoid(logits * a + b)


def best_threshold(truth: np.ndarray, probability: np.ndarray) -> tuple[float, float]:
    """Find the threshold with the best F1, and that F1."""
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(truth[order] > 0)
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + (truth > 0).sum())
    best = int(np.argmax(f1))
    after = probability[order[min(best + 1, len(order) - 1)]]
    return float((probability[order[best]] + after) / 2), float(f1[best])


def f1_at(truth: np.ndarray, found: np.ndarray) -> float:
    """Compute F1."""
    return float(2 * (truth * found).sum() / max(truth.sum() + found.sum(), 1))


def conformal_limit(truth: np.ndarray, probability: np.ndarray) -> float:
    """Find the probability that so many of those with the class reach, corrected for how few there are."""
    own = np.sort(probability[truth > 0])
    rank = int(np.floor((1 - COVERAGE) * (len(own) + 1)))
    return float(own[rank - 1]) if rank else 0.0


def medoids(embeddings: np.ndarray, n: int) -> np.ndarray:
    """Choose the rows that stand best for all, by cosine distance: greedily, then by exchange."""
    unit = embeddings / (np.linalg.norm(embeddings, axis=1, keepdims=True) + 1e-9)
    distance = 1 - unit @ unit.T
    chosen: list[int] = []
    nearest = np.full(len(unit), np.inf)
    for _ in range(min(n, len(unit))):
        cost = np.minimum(distance, nearest[:, None]).sum(axis=0)
        cost[chosen] = np.inf
        chosen.append(int(np.argmin(cost)))
        nearest = np.minimum(nearest, distance[:, chosen[-1]])
    for _ in range(20):
        before = list(chosen)
        own = np.argmin(distance[:, chosen], axis=1)
        for k in range(len(chosen)):
            members = np.flatnonzero(own == k)
            if len(members):
                chosen[k] = int(members[np.argmin(distance[np.ix_(members, members)].sum(axis=0))])
        if chosen == before:
            break
    return np.array(sorted(set(chosen)))


def probe(x: np.ndarray, truth: np.ndarray, ridge: float) -> np.ndarray:
    """Fit a linear map from standardised features to classes by ridge regression: [feature + 1, class]."""
    design = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    penalty = ridge * np.eye(design.shape[1])
    penalty[-1, -1] = 0
    return np.linalg.solve(design.T @ design + penalty, design.T @ truth)
