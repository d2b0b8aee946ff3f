"""How every network here is optimised."""

import torch
from torch import nn


def optimizer_of(network: nn.Module, rate: float, decay: float) -> torch.optim.AdamW:
    """Make the optimizer: weights decay, biases and scales do not."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate)


def descend(
    loss: torch.Tensor,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    longest: float = 1.0,
) -> None:
    """Take one step down a loss; a gradient longer than `longest` is shortened to that."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), longest)
    optimizer.step()
    schedule.step()


@torch.no_grad()
def follow(averaged: nn.Module, network: nn.Module, keep: float, step: int) -> None:
    """Let averaged weights follow those that are trained, faster in the first steps."""
    keep = min(keep, (1 + step) / (10 + step))
    pairs = zip(averaged.state_dict().values(), network.state_dict().values(), strict=True)
    for slow, fast in pairs:
        if slow.dtype.is_floating_point:
            slow.mul_(keep).add_(fast, alpha=1 - keep)
        else:
            slow.copy_(fast)
