"""The course of training on one chunk of networks: steps, log, divergence, checkpoints."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from advmf.errors import ArgumentError, DataError, DomainError
from advmf.inputs import files, reading, status
from advmf.outputs import Output, folder
from advmf.simulate.descent import Gradient, Objective, capacity
from advmf.simulate.networks import Centred, Networks, layers
from advmf.simulate.state import source
from advmf.simulate.tapes import Columns

GROWTH, OUTPUT = 100.0, 1e4
"""A network has diverged where a step would take ||W||_F² of a matrix beyond GROWTH times its value at the start, or
has taken the root mean square of its outputs beyond OUTPUT times its value at the start."""
SAVE = 100
"""Steps between two checkpoints."""
STATE = "networks-{}.pt"
"""The file with the state of a chunk, by the number of its first network."""
LOGGED = (
    "pairing",
    "gradient",
    "adversarial",
    "standard",
    "accuracy",
    "robust",
    "held_standard",
    "held_adversarial",
    "capacity",
)
"""The quantities logged besides the change of the weights; :class:`~advmf.simulate.training.Training` explains them."""


@dataclass(frozen=True)
class Run:
    """Everything that determines the numbers of a run on ``nets`` networks: checked arguments, and a seed for every
    step.

    ``x`` (images, d), ``labels`` (images,) or None, and ``held``, held-out inputs (1, d, images, 1) and their labels,
    or None.
    """

    objective: Objective
    rate: float
    steps: int
    batch: int
    every: bool
    log_every: int
    capacity: bool
    centred: bool
    nets: int
    x: Tensor = field(repr=False)
    labels: Tensor | None = field(repr=False)
    held: tuple[Tensor, Tensor] | None = field(repr=False)
    seeds: list[int] = field(repr=False)

    def draw(self, at: slice, step: int) -> tuple[Columns, Tensor | None]:
        """A step's inputs (nets, d, batch, 1) and labels (nets, batch) of the networks ``at``: random ones, or
        ``every`` one. They do not depend on the chunks."""
        if self.every:
            nets = len(range(self.nets)[at])
            x = self.x.mT[None, ..., None].expand(nets, -1, -1, -1)
            return x, None if self.labels is None else self.labels.expand(nets, -1)
        shape = (self.nets, self.batch)
        index = torch.randint(
            len(self.x), shape, generator=source(None, self.seeds[step]), dtype=torch.int64, device="cpu"
        )
        index = index[at].to(self.x.device)
        return self.x[index].mT[..., None], None if self.labels is None else self.labels[index]

    def logs(self, step: int) -> bool:
        """Whether a step is logged."""
        return step % self.log_every == 0 or step == self.steps

    def queries(self, K: int, d: int) -> int:
        """The largest number of vectors that the run sends through each matrix."""
        held = 0 if self.held is None else self.held[0].shape[2]
        return queries(self.objective, K, d, self.steps, self.batch, self.log_every, held, self.capacity)

    def mark(self) -> dict[str, Any]:
        """Values that identify this run, except its images."""
        own = {name: getattr(self, name) for name in ("rate", "steps", "batch", "every", "log_every", "capacity")}
        centred = {"centred": True} if self.centred else {}
        return {**asdict(self.objective), **own, **centred, "seed": self.seeds[0]}


def queries(
    objective: Objective, K: int, d: int, steps: int, batch: int, log_every: int, held_out: int, capacity: bool
) -> int:
    """The largest number of vectors that a run sends through each matrix, its log included."""
    logs = -(-steps // log_every) + 1
    attacked = steps + 1 if objective.attacks else logs
    trained = attacked * objective.queries(K, d, batch, True) + (steps + 1 - attacked) * objective.queries(
        K, d, batch, False
    )
    return trained + logs * (held_out * objective.attack_queries(K, d) + batch * K * capacity)


@dataclass
class Course:
    """The progress of a chunk: ``step`` is the next step, ``change`` (nets, matrices) the change of ||W||_F² since
    ``start``.

    ``reference`` (nets,) is the root mean square of the outputs at the start, ``diverged`` (nets,) the step at which a
    network ran away, or -1. ``rows`` is the log, a tensor per name.
    """

    start: Tensor
    change: Tensor
    reference: Tensor
    diverged: Tensor
    step: int = 0
    rows: list[dict[str, Tensor]] = field(default_factory=list)


def folder_of(checkpoint: str | os.PathLike[str] | None, resume: bool) -> Path | None:
    """The folder for the states of a run, which is made if it is not there.

    Raises ArgumentError unless ``resume`` tells truly whether a run is there, DataError where it cannot be read, and
    OutputError where it cannot be written to.
    """
    if checkpoint is None:
        if resume:
            raise ArgumentError("resume=True needs checkpoint=, the folder of the run to go on with.")
        return None
    place = Path(checkpoint)
    if files(place, "*.pt", DataError) and not resume:
        raise ArgumentError(f"{place} holds a run already. Give resume=True to go on with it, or another folder.")
    Output(folder(place) / STATE.format(0))
    return place


@dataclass(frozen=True)
class Checkpoint:
    """A file for the state of a chunk, written at regular steps; ``mark`` identifies the run."""

    file: Path
    mark: dict[str, Any]
    every: int

    def save(self, networks: Networks, course: Course) -> None:
        """Replace the file atomically: whenever the program ends, it holds the old state or the new one."""
        folder(self.file.parent)
        state = {"mark": self.mark, "course": vars(course), "weights": [m.weight.state() for m in layers(networks.map)]}
        with Output(self.file).open() as out:
            seal = hashlib.sha256()
            torch.save(state, cast(BinaryIO, _Sealed(out, seal)))
            out.write(seal.digest())

    def load(self, networks: Networks, run: Run) -> Course | None:
        """Set the networks to the saved state and return its course; None if there is no file. Raises DataError where
        it is unreadable or of another run."""
        if status(self.file, DataError) is None:
            return None
        try:
            _unsealed(self.file)
            state = torch.load(self.file, map_location=networks.device, weights_only=True)
            course, mark, weights = Course(**state["course"]), state["mark"], state["weights"]
            named = [*mark]
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise self._unreadable(error) from None
        if other := sorted(name for name in {*named, *self.mark} if mark.get(name) != self.mark.get(name)):
            raise DataError(
                f"{self.file} is of another run: {', '.join(other)} differ. Resume with the arguments of that run, or take another folder."
            )
        try:
            _check(course, run, networks, weights)
            for layer, saved in zip(layers(networks.map), weights):
                layer.weight.restore(saved)
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise self._unreadable(error) from None
        return course

    def _unreadable(self, error: Exception) -> DataError:
        return DataError(f"{self.file} is no readable checkpoint: {error}. Start anew in another folder.")


class _Sealed:
    """A file whose content is hashed as it is written."""

    def __init__(self, file: BinaryIO, seal: Any) -> None:
        self._file, self._seal = file, seal

    def write(self, content: bytes) -> int:
        self._seal.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()


def _unsealed(path: Path) -> None:
    """Raise ValueError unless a file ends in the SHA-256 of everything before it."""
    seal = hashlib.sha256()
    with reading(path, DataError) as file:
        left = os.fstat(file.fileno()).st_size - seal.digest_size
        while left > 0 and (part := file.read(min(left, 2**20))):
            seal.update(part)
            left -= len(part)
        if file.read() != seal.digest():
            raise ValueError("it is not what was written")


def _check(course: Course, run: Run, networks: Networks, weights: list[Any]) -> None:
    """Raise ValueError for a state that the run cannot be in."""
    matrices = list(layers(networks.map))
    of_nets, of_matrices = (networks.nets,), (networks.nets, sum(matrix.trained for matrix in matrices))
    if not isinstance(course.step, int) or not 0 < course.step <= run.steps + 1:
        raise ValueError(f"step {course.step!r} is none of this run")
    if len(course.rows) != sum(map(run.logs, range(course.step))):
        raise ValueError(f"it has {len(course.rows)} rows of the log at step {course.step}")
    shapes = [
        (course.start, of_matrices),
        (course.change, of_matrices),
        (course.reference, of_nets),
        (course.diverged, of_nets),
    ]
    for row in course.rows:
        shapes += [
            (value, of_matrices if name in ("change", "pairing", "gradient") else of_nets)
            for name, value in row.items()
        ]
    if any(tuple(value.shape) != shape for value, shape in shapes):
        raise ValueError("a tensor of its log has another shape")
    if len(weights) != len(matrices):
        raise ValueError(f"it has {len(weights)} matrices, and the networks {len(matrices)}")


def follow(
    networks: Networks, run: Run, at: slice, checkpoint: Checkpoint | None, tick: Callable[[int], None]
) -> Course:
    """Train a chunk, the networks ``at`` of all, from its checkpoint if there is one; ``tick(step)`` is called after
    every step."""
    centred = Centred.of(networks) if run.centred else networks  # a copy of the start, before a state is loaded
    course = checkpoint.load(networks, run) if checkpoint is not None else None
    course = course or _begin(networks, run, at)
    networks = centred
    while course.step <= run.steps:
        step = course.step
        x, labels = run.draw(at, step)
        trace = networks.trace(x)
        slope = run.objective.slope(trace, x, labels, run.seeds[step], watch=run.logs(step))
        pairing = torch.stack([g.pairing() for g in slope.gradients], 1)
        gradient = torch.stack([g.squared_norm() for g in slope.gradients], 1)
        if run.logs(step):
            row: dict[str, Tensor | None] = {"change": course.change, "pairing": pairing, "gradient": gradient}
            row |= {"adversarial": slope.adversarial, "standard": slope.standard}
            if run.held is not None:
                row |= run.objective.held_out(networks, *run.held, run.seeds[step])
            if run.capacity:
                row["capacity"] = capacity(trace)
            course.rows.append({name: value for name, value in row.items() if value is not None})
        if step < run.steps:
            growth = run.rate**2 * gradient - 2 * run.rate * pairing
            _descend(networks, run.rate, course, slope.gradients, x, growth)
        course.step += 1
        if checkpoint is not None and (step == run.steps or course.step % checkpoint.every == 0):
            checkpoint.save(networks, course)
        if step < run.steps:
            tick(course.step)
    return course


def _begin(networks: Networks, run: Run, at: slice) -> Course:
    start = torch.stack([m.weight.squared_norm() for m in layers(networks.map) if m.trained], 1)
    reference = _size(networks.trace(run.draw(at, 0)[0]).output)
    if not bool(torch.isfinite(reference).all()):
        raise DomainError(
            "The networks' outputs are not finite at the start. Lower sigma_w or L, or use dtype=torch.float64."
        )
    return Course(start, torch.zeros_like(start), reference, torch.full_like(reference, -1, dtype=torch.int64))


def _descend(
    networks: Networks, rate: float, course: Course, gradients: list[Gradient], x: Columns, growth: Tensor
) -> None:
    """Make a step of the networks that have not diverged; undo it, up to rounding, where it makes the outputs
    diverge."""
    going = course.diverged < 0
    sane = going & (course.start + course.change + growth <= GROWTH * course.start).all(1)  # false for NaN
    for g in gradients:
        g.move(-rate * sane.double())
    well = sane & (_size(networks.trace(x).output) <= OUTPUT * course.reference)
    if bool((sane & ~well).any()):
        for g in gradients:
            g.move(rate * (sane & ~well).double())
    course.change = torch.where(well[:, None], course.change + growth, course.change)
    course.diverged = torch.where(going & ~well, course.step, course.diverged)


def _size(output: Columns) -> Tensor:
    """The root mean square of outputs, (nets,), in float64."""
    return output.double().square().mean((1, 2, 3)).sqrt()
