"""The Gaussian processes of networks of infinite width, drawn point by point, with their gradients.

The K outputs of a network are independent with the same law. All answers are stored. A point's value and gradient are
drawn from their law given all earlier numbers, so the answers together have the joint law of f and its gradients at
these points.

*Increments.* An input is an anchor, at which f and J are drawn. A point near it is represented by its deviation from
the linear function there: the value ``h = f(x + y) - f(x) - J y`` and the change of the gradient. Their covariances
have no linear part, so nothing cancels for small y.

*Span.* Coordinates of a gradient across all points are independent Gaussian sequences of the same covariance, so they
are drawn as vectors of d numbers. Within the span of the points all numbers are conditioned jointly, by a Cholesky
factor. A point outside the span adds a direction; the components of earlier gradients along it become known numbers.

*Digits.* A number is in units of its own deviation, or of a thirtieth of the linear function's deviation over the same
distance where that is larger. It counts as known where its variance, given the earlier answers, is less than
:data:`~advmf.simulate.limit.span.FLOOR` in these units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy

import torch
from torch import Tensor

from advmf.errors import DomainError
from advmf.simulate.budget import MEMORY, allow
from advmf.simulate.limit.image_kernel import ImageKernel
from advmf.simulate.limit.jets import Layout, Memory
from advmf.simulate.limit.kernel import Kernel
from advmf.simulate.limit.span import Factor, Span

LEAST = 1e-3
"""The smallest unit of a number's variance, as a share of the linear function's variance."""
VALUE = -1
"""The index that stands for the value of a point, among those of the directions of its gradient."""

Normals = Callable[..., Tensor]


class Process:
    """``nets`` networks of K outputs and d inputs, whose covariance is ``kernel``.

    ``normals(*shape)`` draws (nets, *shape) standard normals in float64, each network's from its own stream; a copy of
    it must draw the same. Raises MemoryBudgetError, before anything is drawn, for points that take more than ``memory``
    bytes.
    """

    _least = LEAST
    _whole = 1.0
    """One where the blocks of points near an anchor hold values, and zero where they hold differences from it."""

    def __init__(
        self,
        kernel: Kernel | ImageKernel,
        nets: int,
        d: int,
        K: int,
        normals: Normals,
        memory: int = MEMORY,
        device: torch.device | str = "cpu",
    ) -> None:
        own = torch.empty(nets, 0, dtype=torch.float64, device=device)
        self._kernel, self._nets, self._d, self._K, self._normals = kernel, nets, d, K, normals
        self._memory, self._remembered = memory, Memory()
        self.anchor: list[int] = []
        self.x, self.y = (own.new_zeros(nets, 0, d) for _ in range(2))
        self._jets = own.new_zeros(nets, 0, 0, 8)
        self._span = Span(self.x)
        self._known, self._across = Factor(own, K), Factor(own, K * d)
        self._entries: list[tuple[int, int]] = []
        self._scale = own
        self._values: list[Tensor] = []
        self._changes: dict[int, Tensor] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A block of questions that is answered as a whole: where it raises an error, or is interrupted, the process is
        as it was before, with the same draws to come."""
        # Tensors are replaced and never changed in place.
        before = {name: each if isinstance(each, Tensor) else copy(each) for name, each in vars(self).items()}
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def ask(self, y: Tensor, anchors: Sequence[int | None]) -> list[int]:
        """Draw the values at points (nets, points, d) and return the points' numbers. A point is given relative to its
        anchor, or absolutely where that is None."""
        points = len(self.anchor) + len(anchors)
        numbers = points * (1 + min(self._span.basis.shape[1] + len(anchors), self._d))
        size = 8 * self._nets * (3 * numbers**2 + 3 * points * self._K * self._d)
        allow(size, self._memory, f"{points} points of {self._nets} networks", "Ask for fewer, or raise memory=")
        first, new = len(self.anchor), list(range(len(self.anchor), len(self.anchor) + len(anchors)))
        self.anchor += [i if a is None else a for i, a in zip(new, anchors)]
        own = self._indices([a is None for a in anchors]).bool()[:, None]
        base = torch.cat((self.x, torch.where(own, y, 0.0)), 1)[:, self.anchor[first:]]
        self.x = torch.cat((self.x, torch.where(own, y, base + y)), 1)
        self.y = torch.cat((self.y, torch.where(own, 0.0, y)), 1)
        for vector in y.unbind(1):
            e = self._span.new(vector)
            if e is not None:
                self._enter(e)
        self._measure(new)
        draws = self._normals(len(new), self._K)
        self._values += self._drawn(new, [(i, VALUE) for i in new], draws).unbind(1)
        return new

    def differentiate(self, points: Sequence[int]) -> None:
        """Draw the gradients at points that have none yet."""
        new = [i for i in dict.fromkeys(points) if i not in self._changes]
        if not new:
            return
        self._graded(new, self._normals(len(new), self._K, self._d))

    def output(self, point: int) -> Tensor:
        """f at a point, (nets, K)."""
        at = self.anchor[point]
        if at == point:
            return self._values[point]
        linear = torch.bmm(self._changes[at], self.y[:, point, :, None])[..., 0]
        return self._values[at] + linear + self._values[point]

    def beyond(self, point: int) -> Tensor:
        """The deviation of f at a point from the linear function at its anchor, (nets, K)."""
        value = self._values[point]
        return torch.zeros_like(value) if self.anchor[point] == point else value

    def gradient(self, point: int) -> Tensor:
        """J at a point whose gradient was drawn, (nets, K, d)."""
        at, change = self.anchor[point], self._changes[point]
        return change if at == point else self._changes[at] + change

    # -- what points and directions add --------------------------------------------------------------------------------

    def _graded(self, new: list[int], draws: Tensor) -> None:
        """Draw gradients by standard normals (nets, points, K, d)."""
        basis = self._span.basis
        r, n = basis.shape[1], len(self._changes)
        inside = torch.bmm(draws.flatten(1, 2), basis.mT).unflatten(1, (len(new), self._K)).transpose(2, 3).flip(2)
        # The first direction, that of an input, comes last: for homogeneous activations almost nothing is left to draw
        # there.
        entries = [(i, k) for i in new for k in reversed(range(r))]
        along = self._drawn(new, entries, inside.flatten(1, 2)).unflatten(1, (len(new), r)).flip(2)
        graded = [*self._changes, *new]
        sequence = self._sequence(new, graded) / self._gain[..., None]
        across = self._across.extend(sequence[..., :n], sequence[..., n:], draws.flatten(2))
        for at, i in enumerate(new):
            # Draws cover all directions; their part within the span is replaced by the numbers known there.
            found = across[:, at].unflatten(1, (self._K, self._d)) * self._unit[:, None]
            found.baddbmm_(along[:, at].mT - torch.bmm(found, basis.mT), basis)
            self._changes[i] = found

    def _enter(self, e: Tensor) -> None:
        """Add a direction; the gradients known so far have a coordinate along it."""
        nets, n, _ = self._across.normals.shape
        if not n:
            return
        along = torch.bmm(self._across.normals.unflatten(2, (self._K, self._d)).flatten(1, 2), e[..., None])
        self._known.append(None, self._across.lower, along[..., 0].unflatten(1, (n, self._K)))
        k = self._span.basis.shape[1] - 1
        self._entries += [(i, k) for i in self._changes]
        self._scale = torch.cat((self._scale, self._unit.expand(nets, n)), 1)

    def _measure(self, new: list[int]) -> None:
        """Compute the kernel between the new points and all points."""
        assert isinstance(self._kernel, Kernel)
        d, anchor = self._d, self._indices(self.anchor)
        x, y = self.x @ self._span.basis.mT, self.y @ self._span.basis.mT
        layout = Layout.of(self._indices(new), anchor, self._remembered)
        q = (x**2).sum(2) / d
        gap = ((2 * x[:, anchor] + y) * y).sum(2) / d
        distance = (layout.apart(x, y) ** 2).sum(3) / d
        state = self._kernel(q, gap, distance, layout)
        found = state.jets.stacked.movedim(0, 3)
        self._require_finite(found)
        n = len(self.anchor) - len(new)
        jets = found.new_zeros(self._nets, len(self.anchor), len(self.anchor), 8)
        jets[:, :n, :n] = self._jets
        jets[:, n:] = found
        jets[:, :n, n:] = found[:, :, :n].transpose(1, 2)[..., _SWAPPED]
        self._jets, self._coordinates, self._remembered = jets, (x, y), layout.memory
        p = state.points
        self._gain = state.gain[:, :, 0]
        self._unit = (self._gain / d).sqrt()
        self._Q, self._gap, self._halves = p.Q, p.gap, p.slope[..., None] * x / d
        self._metric, self._units = self._present * self._gain / d, self._unit.expand(-1, x.shape[2])

    def _require_finite(self, found: Tensor) -> None:
        if not bool(torch.isfinite(found).all()):
            raise DomainError(
                "The covariance at these inputs is not finite, or has no derivative: an input is zero where the net has no biases, or too large."
            )

    def _indices(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.x.device)

    # -- covariances ---------------------------------------------------------------------------------------------------

    def _drawn(self, points: list[int], entries: list[tuple[int, int]], normals: Tensor) -> Tensor:
        """Draw numbers of new entries (point, direction) by standard normals (nets, entries, K)."""
        values, r1 = entries[0][1] == VALUE, self._span.basis.shape[1] + 1
        covariance = self._covariance(points, values)
        place = {i: a for a, i in enumerate(points)}
        rows = [place[i] * (1 if values else r1 - 1) + max(0, k) for i, k in entries]
        columns = [i * r1 + k + 1 for i, k in self._entries + entries]
        covariance = covariance.flatten(1, 2).flatten(2)[:, rows][:, :, columns]
        linear = torch.stack([self._size(i) for i in points], 1) if values else self._units[:, [k for _, k in entries]]
        n = len(self._entries)
        scale = (covariance[..., n:].diagonal(dim1=1, dim2=2).clamp(min=0) + self._least * linear**2).sqrt()
        self._scale = torch.cat((self._scale, scale), 1)
        self._entries += entries
        scaled = covariance / (scale[..., None] * self._scale[:, None])
        own = scaled[..., n:]
        return self._known.extend(scaled[..., :n], (own + own.mT) / 2, normals) * scale[..., None]

    def _size(self, i: int) -> Tensor:
        """The scale of a value: the deviation of f at an anchor, of J y elsewhere."""
        square = self._Q[:, i] if self.anchor[i] == i else (self._units * self._coordinates[1][:, i]).square().sum(1)
        return torch.where(square > 0, square.sqrt(), 1.0)

    def _covariance(self, points: list[int], value: bool) -> Tensor:
        """The covariance of the values of points, or of their gradients, with the values and gradients of all: (nets,
        points, 1 or r, points, 1 + r)."""
        own = self._values_with(points, None) if value else self._gradients_with(points)
        moved = [i for i in points if self.anchor[i] != i]
        if moved:
            bases = [self.anchor[i] for i in moved]
            if value:
                taken = self._values_with(bases, self._coordinates[1][:, moved])
            else:
                distinct = list(dict.fromkeys(bases))
                taken = self._gradients_with(distinct)[:, [distinct.index(b) for b in bases]]
            if len(moved) == len(points):
                own = own - taken
            else:
                own[:, [points.index(i) for i in moved]] -= taken
        # The same for the other input.
        others = [j for j, b in enumerate(self.anchor) if b != j]
        if others:
            base = own[..., [self.anchor[j] for j in others], :]
            base[..., 0] *= self._whole
            base[..., 0] += (self._coordinates[1][:, None, None, others] * base[..., 1:]).sum(4)
            own[..., others, :] -= base
        return self._with_linear(own, points, value)

    def _pairs(self, points: list[int]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """For points paired with all: x_i, x_i - x_j, and the derivatives of the kernel's rest."""
        x, y = self._coordinates
        apart = Layout.of(self._indices(points), self._indices(self.anchor)).apart(x, y)
        return x[:, points, None], apart, self._jets[:, points][..., None].unbind(3)

    def _values_with(self, points: list[int], y: Tensor | None) -> Tensor:
        """The contribution of the kernel's rest to the covariance of f, or of f + J y if y (nets, points, r) is given:
        (nets, points, 1, points, 1 + r)."""
        d, xj = self._d, self._coordinates[0][:, None]
        xi, apart, (t, q, r, D, qr, qD, rD, DD) = self._pairs(points)
        value, slope = -t / 2, -(r * xj - D * apart) / d
        if y is not None:
            y = y[:, :, None]
            along, across = (y * xi).sum(3, keepdim=True), (y * apart).sum(3, keepdim=True)
            value = value - (q * along + D * across) / d
            slope = slope + D / d * y
            slope = slope - 2 / d**2 * ((qr * along + rD * across) * xj - (qD * along + DD * across) * apart)
        return torch.cat((value, slope), 3)[:, :, None]

    def _gradients_with(self, points: list[int]) -> Tensor:
        """The contribution of the kernel's rest to the covariance of J, (nets, points, r, points, 1 + r)."""
        d, xj = self._d, self._coordinates[0][:, None]
        xi, apart, (_, q, _, D, qr, qD, rD, DD) = self._pairs(points)
        nets, p, m, k = apart.shape
        out = apart.new_empty(nets, p, k, m, k + 1)
        out[..., 0] = (-(q * xi + D * apart) / d).transpose(2, 3)
        one, other = -2 / d**2 * (qr * xj - qD * apart), -2 / d**2 * (rD * xj - DD * apart)
        inner = out[..., 1:]
        torch.mul(xi.transpose(2, 3)[..., None], one[:, :, None], out=inner)
        inner.addcmul_(apart.transpose(2, 3)[..., None], other[:, :, None])
        inner.diagonal(dim1=2, dim2=4).add_(self._present[:, None, None] * (D / d))
        return out

    @property
    def _present(self) -> Tensor:
        """A mask (nets, r): one for each direction that a network has, zero where it has none."""
        return (self._span.basis.square().sum(2) > 0).to(self.x)

    def _with_linear(self, rows: Tensor, points: list[int], value: bool) -> Tensor:
        """Add the parts that are linear in either input, which do not appear in increments: the variances, and the
        linear part of the squared distance."""
        (x, y), Q, metric, halves = self._coordinates, self._Q, self._metric, self._halves
        anchors = [j for j, b in enumerate(self.anchor) if b == j]
        base = halves[:, self.anchor]
        # Between an anchor's value and the increments of any point.
        linear = metric[:, None] * y
        by_value = (self._gap - (2 * base * y).sum(2) - (linear * y).sum(2)) / 2
        increments = torch.cat((by_value[..., None], halves - base - linear), 2)
        moved = self._indices([b != j for j, b in enumerate(self.anchor)])
        for a, i in enumerate(points):
            if self.anchor[i] != i:
                part = increments[:, i, :1] if value else increments[:, i, 1:]
                for j in anchors:
                    rows[:, a, :, j, 0] += part
                continue
            if value:
                rows[:, a, 0] += increments * moved[:, None]
            for j in anchors:
                apart = x[:, i] - x[:, j]
                if value:
                    rows[:, a, 0, j, 0] += (Q[:, i] + Q[:, j] - (metric * apart**2).sum(1)) / 2
                    rows[:, a, 0, j, 1:] += halves[:, j] + metric * apart
                else:
                    rows[:, a, :, j, 0] += halves[:, i] - metric * apart
                    rows[:, a, :, j, 1:] += torch.diag_embed(metric)
        return rows

    def _sequence(self, new: list[int], graded: list[int]) -> Tensor:
        """The covariance of a coordinate of the gradients across the points, times d."""
        D = self._jets[..., 3]
        bases = [self.anchor[i] for i in range(len(self.anchor))]
        moved = self._indices([b != i for i, b in enumerate(bases)]).to(D)
        rows, columns = moved[new][None, :, None], moved[graded][None, None]
        at, to = [bases[i] for i in new], [bases[j] for j in graded]
        own = D[:, new][..., graded]
        own = own - rows * D[:, at][..., graded] - columns * D[:, new][..., to] + rows * columns * D[:, at][..., to]
        return own + (1 - rows) * (1 - columns) * self._gain[..., None]


_SWAPPED = [0, 2, 1, 3, 4, 6, 5, 7]
"""The derivatives of a kernel with its two inputs exchanged."""
