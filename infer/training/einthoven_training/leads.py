"""The leads of an ECG, and what follows from what."""

import torch

TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
# The leads that the others follow from, in the order of every tensor here.
EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
ROWS = tuple(TWELVE.index(lead) for lead in EIGHT)

# The sets of leads that a model starts from, and how often each is seen in training; what is left over of 1
# goes to random sets.
SETS: dict[tuple[str, ...], float] = {
    ("II", "V1", "V5"): 0.50,
    ("I", "II", "V1", "V5"): 0.15,
    ("I", "II", "V2"): 0.06,
    ("I", "II"): 0.06,
    ("II",): 0.05,
    ("I",): 0.05,
}


def twelve(eight: torch.Tensor) -> torch.Tensor:
    """Complete [batch, 8, sample] to [batch, 12, sample] by Einthoven and Goldberger."""
    i, ii = eight[:, 0], eight[:, 1]
    limb = torch.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2], dim=1)
    return torch.cat([limb, eight[:, 2:]], dim=1)


def rows_of(leads: tuple[str, ...]) -> list[int]:
    """Find the rows of leads among the eight."""
    return [EIGHT.index(lead) for lead in leads]


def missing_of(leads: tuple[str, ...]) -> list[int]:
    """Find the rows among the twelve that are not among `leads`."""
    return [row for row, lead in enumerate(TWELVE) if lead not in leads]
