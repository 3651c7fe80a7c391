"""Computes trajectories.csv with PyTorch and Optax: what their optimizers do, step by step, in double precision.

Run once, by hand, in an environment that has both (neither is a dependency of sciopt):

    pip install torch==2.13.0 optax==0.2.8 jax==0.12.0.1
    python data/recurrences/build.py

Gradients are computed by NumPy and handed over, so that only the recurrences differ. SOURCES.md describes the table.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import optax
import torch
from functions import FUNCTIONS

EXPECTED = {"torch": "2.13.0", "optax": "0.2.8", "jax": "0.12.0.1"}
STEPS = 30

jax.config.update("jax_enable_x64", True)
torch.set_default_dtype(torch.float64)

Gradient = Callable[[np.ndarray], np.ndarray]

# Method -> how PyTorch builds it; `p` is the list of parameters. Rates are chosen so that no run diverges.
TORCH: dict[str, Callable[[list], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=5e-4),
    "sgd-l2": lambda p: torch.optim.SGD(p, lr=5e-4, weight_decay=0.3),
    "momentum": lambda p: torch.optim.SGD(p, lr=2e-4, momentum=0.9),
    "momentum-l2": lambda p: torch.optim.SGD(p, lr=2e-4, momentum=0.8, weight_decay=0.3),
    "nesterov": lambda p: torch.optim.SGD(p, lr=2e-4, momentum=0.9, nesterov=True),
    "nesterov-l2": lambda p: torch.optim.SGD(p, lr=2e-4, momentum=0.9, nesterov=True, weight_decay=0.3),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
    "adagrad-l2": lambda p: torch.optim.Adagrad(p, lr=0.1, eps=1e-6, weight_decay=0.3),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "rmsprop-l2": lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, eps=1e-6, weight_decay=0.3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05),
    "adam-l2": lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.3),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.9, 0.9), amsgrad=True),
    "amsgrad-l2": lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.9, 0.9), amsgrad=True, weight_decay=0.3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.3),
    "adamw-amsgrad": lambda p: torch.optim.AdamW(p, lr=0.05, betas=(0.9, 0.9), amsgrad=True, weight_decay=0.3),
}

# Method -> Optax transformation. Order in a chain is the whole point: decay added before the scaling is coupled (L2),
# after it decoupled.
OPTAX: dict[str, optax.GradientTransformation] = {
    "momentum-decoupled": optax.chain(
        optax.trace(decay=0.9), optax.add_decayed_weights(0.3), optax.scale_by_learning_rate(2e-4)
    ),
    "nesterov-optax": optax.sgd(2e-4, momentum=0.9, nesterov=True),
    "rmsprop-decoupled": optax.chain(
        optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False),
        optax.add_decayed_weights(0.3),
        optax.scale_by_learning_rate(0.01),
    ),
    "adam-optax": optax.adam(0.05),
    "adam-schedule": optax.adam(lambda count: 0.05 / (1.0 + count / 4.0)),
    "adamw-optax": optax.adamw(0.05, weight_decay=0.3),
    "adabelief": optax.adabelief(0.05),
    "adabelief-eps": optax.adabelief(0.05, b1=0.8, b2=0.99, eps=1e-4, eps_root=1e-3),
    "adabelief-l2": optax.chain(optax.add_decayed_weights(0.3), optax.adabelief(0.05)),
    "adabelief-decoupled": optax.chain(
        optax.scale_by_belief(), optax.add_decayed_weights(0.3), optax.scale_by_learning_rate(0.05)
    ),
}


def by_torch(build: Callable[[list], torch.optim.Optimizer], start: np.ndarray, gradient: Gradient) -> Iterator:
    """The points that a PyTorch optimizer visits."""
    x = torch.nn.Parameter(torch.tensor(start))
    optimizer = build([x])
    for _ in range(STEPS):
        x.grad = torch.tensor(gradient(x.detach().numpy().copy()))
        optimizer.step()
        yield x.detach().numpy().copy()


def by_optax(transformation: optax.GradientTransformation, start: np.ndarray, gradient: Gradient) -> Iterator:
    """The points that an Optax transformation visits."""
    x = jax.numpy.asarray(start)
    state = transformation.init(x)
    for _ in range(STEPS):
        update, state = transformation.update(jax.numpy.asarray(gradient(np.array(x))), state, x)
        x = optax.apply_updates(x, update)
        yield np.array(x)


def main() -> None:
    found = {"torch": torch.__version__.split("+")[0], "optax": optax.__version__, "jax": jax.__version__}
    if found != EXPECTED:
        sys.exit(f"found {found}, the table was computed with {EXPECTED}; update build.py and SOURCES.md together")
    path = Path(__file__).with_name("trajectories.csv")
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["library", "method", "function", "step", "x1", "x2", "x3", "x4", "x5"])
        for library, methods, walk in (("torch", TORCH, by_torch), ("optax", OPTAX, by_optax)):
            for method, build in methods.items():
                for function, (start, gradient) in FUNCTIONS.items():
                    for step, x in enumerate(walk(build, start, gradient), 1):
                        writer.writerow([library, method, function, step, *(repr(float(c)) for c in x)])


if __name__ == "__main__":
    main()
