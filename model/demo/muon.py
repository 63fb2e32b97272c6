"""The Muon optimiser: momentum whose update is made orthogonal (Keller Jordan, 2024), for matrices inside the layers.

A step costs more than one of AdamW and teaches more. In float32, since PyTorch's own works in bfloat16, which common
CPUs compute slowly.
"""

from collections import defaultdict

import torch


class Muon(torch.optim.Optimizer):
    """Takes two-dimensional parameters only; the learning rate is per unit of root-mean-square, about 0.02."""

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for parameter in group["params"]:
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                by_shape[parameter.shape].append((parameter, parameter.grad.lerp(momentum, group["momentum"])))
            for shape, pairs in by_shape.items():
                updates = orthogonal(torch.stack([update for _, update in pairs]))
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for (parameter, _), update in zip(pairs, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)


def orthogonal(x: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """(n, rows, columns) -> nearly orthogonal matrices, by Newton-Schulz steps with the constants of the Muon paper."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
