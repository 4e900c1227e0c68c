"""Adversarial training of many random networks at once, by stochastic gradient descent on the trained matrices.

Each network sees its own random inputs. ``P_in``, ``P_out``, ``Mix`` and biases stay as drawn, as in the theory of the
weight variance. A step changes a matrix by products of vectors that it has been multiplied with. So networks without
weights are trained as exactly as others.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from advmf.boundary import public, whole
from advmf.errors import ArgumentError, DataError, DomainError
from advmf.inputs import files
from advmf.simulate.attack import TENSORS
from advmf.simulate.budget import allow
from advmf.simulate.course import LOGGED, SAVE, STATE, Checkpoint, Course, Run, folder_of, follow, queries
from advmf.simulate.data import Images
from advmf.simulate.descent import Objective
from advmf.simulate.ensemble import Ensemble
from advmf.simulate.limit.ensemble import LimitEnsemble, refuse
from advmf.simulate.state import draw_seed, source, without_gradients
from advmf.simulate.training_arguments import data_of, objective_of, positive, require_ensemble, require_moving

SEED = 48
"""Bytes of a step's seed, a Python integer in a list."""
STEPS, DIRECTIONS = 3, 1
"""Default strength of the inner maximum: steps and directions of :func:`~advmf.simulate.attack.attack`."""


@dataclass(frozen=True)
class Training:
    """The log of a run: for each entry of ``step`` (logs,), the state of the networks after that many steps, on the
    batch of that step.

    ``variance`` is ``sigma_l² = ||W^l||_F² / N``, N being the rows of the matrix, and ``change`` its change since the
    start, not computed as a difference of large numbers. ``pairing`` is <W^l, dLoss/dW^l> and ``gradient``
    ||dLoss/dW^l||_F², each (logs, nets, trained matrices). ``adversarial`` and ``standard`` are the losses.
    ``accuracy`` and ``robust`` are the shares of held-out images classified correctly, without a perturbation and
    under the one found; ``held_standard`` and ``held_adversarial`` are the losses on them. ``capacity`` is sum_k
    (sum_l <W^l, d f_k/d W^l>)². Each of these is (logs, nets), or None where not requested. ``diverged`` (nets,) is
    the step that was undone or not taken because a network diverged, and -1 where none did; a diverged network stays
    at its last good state. All numbers are float64. With ``rate`` eta, ``time`` is eta * step, and at consecutive
    steps

        N change' - N change = -2 eta pairing + eta² gradient.
    """

    rate: float
    step: Tensor
    variance: Tensor
    change: Tensor
    pairing: Tensor
    gradient: Tensor
    adversarial: Tensor
    standard: Tensor | None
    accuracy: Tensor | None
    robust: Tensor | None
    held_standard: Tensor | None
    held_adversarial: Tensor | None
    capacity: Tensor | None
    diverged: Tensor

    @property
    def time(self) -> Float[Tensor, " logs"]:
        """The time of the gradient flow, rate * step."""
        return self.rate * self.step.double()


@public
@without_gradients
def train(
    ensemble: Ensemble,
    images: Images,
    *,
    loss: str,
    rate: float,
    steps: int,
    p: Any = 2,
    q: Any = 2,
    eps: float = 0.1,
    weight: float = 1.0,
    batch: int | str = 8,
    attack_steps: int = STEPS,
    directions: int = DIRECTIONS,
    held_out: Images | None = None,
    capacity: bool = False,
    centred: bool = False,
    log_every: int = 1,
    generator: torch.Generator | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    save_every: int = SAVE,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Training:
    """Train every network of ``ensemble`` by ``steps`` steps of size ``rate``, each on ``batch`` images drawn for that
    network and step (with replacement).

    ``loss`` is "adversarial", max ||f(x + eta) - f(x)||_q over ||eta||_p <= eps; "cross-entropy" of the labels, or
    "squared", half the squared distance from their unit vectors; or "both", cross-entropy + ``weight`` * adversarial
    loss, or "both-squared". With ``batch="all"`` every step takes each image once. The inner maximum is found by
    :func:`~advmf.simulate.attack.attack` with ``attack_steps`` and ``directions``: a lower bound, tight on small balls.
    Step 0, every ``log_every``-th step and the last step are logged. Held-out accuracies and losses are logged only if
    ``held_out`` images with labels are given. ``centred`` trains f - f_0, which starts at zero: f_0 are the outputs
    before the first step, of a copy of the networks. Losses and accuracies are then those of f - f_0, as those of
    :func:`advmf.kernel_flow` with ``centred``. It takes networks with weights.

    If the ensemble keeps its networks, it holds the trained ones afterwards. Otherwise they are trained and dropped,
    chunk by chunk. All randomness comes from ``generator`` (seed 0 if None), and numbers depend neither on chunks nor,
    in law, on the sampler. Conditioned networks store their answers; :func:`training_queries` gives their number.

    ``checkpoint`` is a folder in which the state is saved every ``save_every`` steps; each file is replaced atomically
    and ends in its SHA-256. The same call with ``resume=True``, on an ensemble of the same seed, continues from there
    and gives the numbers of an uninterrupted run. Another ``memory``, which makes other chunks, is refused.
    ``progress(done, total)`` is called after every step; it counts the steps of every network singly.

    Raises ArgumentError, DomainError or DataError for arguments that make no run, OutputError for a folder that cannot
    be written to, and MemoryBudgetError where the networks would outgrow their budget; these are raised before any
    work. Raises DomainError where outputs are not finite at the start.

    >>> import advmf as mf
    >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=0), N=50, L=2, d=64, K=10, nets=3, sigma_w=2**0.5, sigma_b=0.0,
    ...                               generator=torch.Generator().manual_seed(0))
    >>> run = train(networks, mf.simulate.load("digits").scaled(1.0), loss="adversarial", eps=0.1, rate=0.01, steps=5)
    >>> run.variance.shape, bool((run.change[-1] < 0).all())
    (torch.Size([6, 3, 2]), True)
    """
    objective = objective_of(loss, p, q, eps, weight, attack_steps, directions)
    run = _run(ensemble, images, objective, rate, steps, batch, generator, held_out, capacity, log_every, centred)
    save_every = whole("save_every", save_every)
    ensemble.expect(run.queries(ensemble.K, ensemble.d))
    folder = folder_of(checkpoint, resume)
    mark = {**run.mark(), **_mark(ensemble), "images": _digest(images), "held_out": held_out and _digest(held_out)}
    courses: list[Course] = []
    for networks in ensemble.chunks():
        first = sum(len(course.diverged) for course in courses)
        if folder is not None and resume and not courses:
            _same_chunks(folder, networks.nets, ensemble.nets)
        saved = (
            None
            if folder is None
            else Checkpoint(folder / STATE.format(first), {**mark, "memory": networks.nets}, save_every)
        )

        def tick(step: int, first: int = first, nets: int = networks.nets) -> None:
            if progress is not None:
                progress(first * run.steps + nets * step, ensemble.nets * run.steps)

        courses.append(follow(networks, run, slice(first, first + networks.nets), saved, tick))
    return _joined(run, ensemble.trained_rows, courses)


@public
@without_gradients
def suggest_rate(
    ensemble: Ensemble,
    images: Images,
    *,
    resolution: float,
    loss: str = "adversarial",
    p: Any = 2,
    q: Any = 2,
    eps: float = 0.1,
    weight: float = 1.0,
    batch: int = 8,
    attack_steps: int = STEPS,
    directions: int = DIRECTIONS,
    generator: torch.Generator | None = None,
) -> float:
    """The largest rate at which a step follows the gradient flow up to ``resolution`` in ``||W||_F²``, from the
    gradients of the first batch.

    For every trained matrix, rate² ||g||² is at most ``resolution`` times 2 rate |<W, g>|, in the mean over networks.
    No weight is changed, but conditioned networks store the answers that this takes. Arguments and errors are those of
    :func:`train`.

    >>> import advmf as mf
    >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=0), N=50, L=2, d=64, K=10, nets=3, sigma_w=2**0.5, sigma_b=0.0,
    ...                               generator=torch.Generator().manual_seed(0))
    >>> images = mf.simulate.load("digits").scaled(1.0)
    >>> 0 < suggest_rate(networks, images, resolution=0.01) < 0.1 * suggest_rate(networks, images, resolution=0.11)
    True
    """
    if not 0 < positive("resolution", resolution) < math.inf:
        raise DomainError(f"resolution must be positive and finite, e.g. 0.01; got {resolution}.")
    objective = objective_of(loss, p, q, eps, weight, attack_steps, directions)
    run = _run(ensemble, images, objective, 1.0, 1, batch, generator)
    ensemble.expect(run.queries(ensemble.K, ensemble.d))
    first, second, start = [], [], 0
    for networks in ensemble.chunks():
        x, labels = run.draw(slice(start, start + networks.nets), 0)
        start += networks.nets
        gradients = run.objective.slope(networks.trace(x), x, labels, run.seeds[0]).gradients
        first.append(torch.stack([g.pairing() for g in gradients], 1).abs())
        second.append(torch.stack([g.squared_norm() for g in gradients], 1))
    most = (2 * resolution * torch.cat(first).mean(0) / torch.cat(second).mean(0)).min()
    if not 0 < float(most) < math.inf:
        raise DomainError("The first batch has no finite gradient that is not zero, so it says nothing about a rate.")
    return float(most)


@public
def training_queries(
    K: int,
    d: int,
    *,
    loss: str,
    steps: int,
    batch: int = 8,
    attack_steps: int = STEPS,
    directions: int = DIRECTIONS,
    held_out: int = 0,
    capacity: bool = False,
    log_every: int = 1,
) -> int:
    """The largest number of vectors that a run of :func:`train` sends through each matrix, for ``queries`` of
    :func:`~advmf.simulate.sample`.

    ``held_out`` is the number of held-out images. The networks then store this many answers for each matrix, or the
    matrix itself.

    >>> training_queries(10, 64, loss="adversarial", steps=100, batch=1)
    2626
    >>> training_queries(10, 64, loss="cross-entropy", steps=100, batch=1, log_every=50)
    363
    """
    objective = objective_of(loss, 2, 2, 1.0, 1.0, attack_steps, directions)
    return queries(objective, K, d, steps, batch, log_every, held_out, capacity)


def _joined(run: Run, rows: list[int], courses: list[Course]) -> Training:
    """The logs of all chunks side by side."""

    def log(name: str) -> Any:
        if name not in courses[0].rows[0]:
            return None
        return torch.cat([torch.stack([row[name] for row in course.rows]) for course in courses], 1)

    start = torch.cat([course.start for course in courses])
    width = torch.tensor(rows, dtype=start.dtype, device=start.device)
    return Training(
        rate=run.rate,
        step=torch.tensor([step for step in range(run.steps + 1) if run.logs(step)], dtype=torch.int64, device="cpu"),
        variance=(start + log("change")) / width,
        change=log("change") / width,
        **{name: log(name) for name in LOGGED},
        diverged=torch.cat([course.diverged for course in courses]),
    )


# -- bad input ---------------------------------------------------------------------------------------------------------


def _run(
    ensemble: Ensemble,
    images: Images,
    objective: Objective,
    rate: object,
    steps: object,
    batch: object,
    generator: torch.Generator | None,
    held_out: Images | None = None,
    capacity: bool = False,
    log_every: object = 1,
    centred: bool = False,
) -> Run:
    require_ensemble(ensemble)
    if isinstance(ensemble, LimitEnsemble):
        refuse("Training")
    if centred:
        _check_centred(ensemble, objective)
    generator = source(generator)
    if not ensemble.trained_rows:
        raise ArgumentError("Nothing to train: the net has no Dense layer, or L = 0.")
    x, labels, held_out_data = data_of(ensemble, images, held_out, objective)
    held = None if held_out_data is None else (held_out_data[0].mT[None, ..., None], held_out_data[1])
    whole_batch = batch == "all"
    if isinstance(batch, str) and not whole_batch:
        raise ArgumentError(f'batch is a number of images, or "all"; got {batch!r}.')
    batch = len(x) if whole_batch else batch
    steps, batch, log_every = (whole(name, value) for name, value in
                               (("steps", steps), ("batch", batch), ("log_every", log_every)))  # fmt: skip
    _check_sizes(ensemble, objective, steps, batch, -(-steps // log_every) + 1)
    first = source(None, draw_seed(generator))
    seeds = torch.randint(2**63 - 1, (steps + 1,), generator=first, dtype=torch.int64, device="cpu").tolist()
    return Run(
        objective=objective,
        rate=positive("rate", rate),
        steps=steps,
        batch=batch,
        every=whole_batch,
        log_every=log_every,
        capacity=capacity,
        centred=centred,
        nets=ensemble.nets,
        x=x,
        labels=labels,
        held=held,
        seeds=seeds,
    )


def _check_sizes(ensemble: Ensemble, objective: Objective, steps: int, batch: int, logs: int) -> None:
    """Raise MemoryBudgetError where the seeds and logs of a run, or a batch with its activations and its attack, take
    too much memory."""
    matrices = len(ensemble.trained_rows)
    size = SEED * (steps + 1) + 8 * logs * ensemble.nets * (len(LOGGED) + 3 * matrices)
    allow(size, ensemble.workspace, f"The seeds and the log of steps={steps}", "Lower steps, or log less by log_every=")
    kept = ensemble.d + ensemble.K + ensemble.N * (1 + ensemble.L * len(list(ensemble.net.parameters)))
    own = batch * (3 * kept + TENSORS * 2 * objective.directions * ensemble.d)
    size = 8 * ensemble.nets * batch + ensemble.dtype.itemsize * ensemble.at_once * own
    allow(size, ensemble.workspace, f"A step on batch={batch} images", "Lower batch or directions, or raise memory=")


def _check_centred(ensemble: Ensemble, objective: Objective) -> None:
    """Raise ArgumentError where f - f_0 cannot be trained, or would not move."""
    require_moving(True, objective.loss)
    if ensemble.sampler != "dense":
        raise ArgumentError(
            f'centred=True takes networks with weights, whose start can be copied; got sampler="{ensemble.sampler}". Give sampler="dense" to sample.'
        )


def _same_chunks(folder: Path, together: int, nets: int) -> None:
    """Raise DataError where a folder holds chunks of another size than ``together``, as another memory budget makes
    them."""
    found = [path.name for path in files(folder, STATE.format("*"), DataError)]
    wanted = {STATE.format(first) for first in range(0, nets, together)}
    if strange := [name for name in found if name not in wanted]:
        raise DataError(
            f"{folder} holds {', '.join(strange)}, the networks in other chunks: memory= was another. Resume with the memory= of that run, or "
            "take another folder."
        )


def _mark(ensemble: Ensemble) -> dict[str, Any]:
    """Values that identify an ensemble's networks."""
    return {
        "net": repr(ensemble.net),
        "sizes": [ensemble.N, ensemble.L, ensemble.d, ensemble.K, ensemble.nets],
        "values": dict(ensemble.values),
        "seeds": ensemble.seeds.tolist(),
        "sampler": f"{ensemble.sampler}, {ensemble.dtype}, queries={ensemble.queries if ensemble.sampler == 'conditioned' else 0}",
    }


def _digest(images: Images) -> str:
    """A hash that identifies images and labels."""
    labels = b"" if images.labels is None else np.asarray(images.labels, dtype="<i8").tobytes()
    return f"{images.sha256}, labels {hashlib.sha256(labels).hexdigest()}"
