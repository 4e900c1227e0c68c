"""Gaussian matrices without stored entries: products with them are sampled, conditional on all earlier products.

A random W is used only through products, so W need not exist: each product (a *question*) is answered by a draw from
its law, given the earlier answers (E. Bolthausen, Commun. Math. Phys. 325, 2014; as an algorithm, Y. M. Lu, Householder
Dice, arXiv:2101.07464). The law of all answers together is exactly that of an explicit matrix with independent N(0,
std²) entries. m products with matrices of N rows and columns take O(N m) memory and O(N m²) time.

With orthonormal ``Q`` the directions asked from the right and ``P`` those asked from the left (as rows), and ``G``,
``H`` a draw for each of them,

    W = G^T Q + P^T H + (1 - P^T P) Z (1 - Q^T Q),

where Z is the part that no question has reached. A draw is Gaussian and orthogonal to the directions that were asked
about from its side before it: there the answer was known already. So an answer is one product with ``[Q; H]`` and one
with ``[G; P]``, and a new direction costs a draw. A gradient step adds ``P^T learnt Q``, because it is a sum of outer
products of vectors that were asked about.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from advmf.errors import ArgumentError
from advmf.simulate.budget import Budget
from advmf.simulate.dense import DenseMatrix
from advmf.simulate.span import combine, directions, onto_rows, orthonormal, sizes
from advmf.simulate.state import draw_seed, followed, source, without_gradients

RIGHT, LEFT = 0, 1
"""Sides: vectors that W maps (as long as a row), and vectors that it maps to (as long as a column)."""
_AGAIN = 1 / 2
"""A direction is orthogonalised once more if less than this share of a vector is new. Errors of earlier directions are
divided by the share, so without this they would grow without bound from step to step of a training run."""
_ROUNDS = 4
"""Rounds in which directions with smaller and smaller shares are extracted from a block; float32 needs one."""
_STATE = ("counts", "missing", "capacity", "taken", "learnt", "unseen")
"""The attributes of a matrix that its saved state holds besides its factors."""


class ConditionedMatrix:
    """``nets`` Gaussian matrices (rows x columns) of independent N(0, ``std``²) entries that answer products without
    being stored.

    ``queries`` is the number of vectors expected on either side; storage grows beyond it. All randomness comes from
    ``generator``, in the order of the questions. A vector counts as seen where less than a share ``tolerance`` of it
    lies outside the span of earlier questions (128 times the precision of ``dtype`` if None). Where the factors would
    take more memory than the matrix itself, the rest is drawn and the matrix is explicit from then on. So any number of
    questions is answered exactly.

    Raises ArgumentError for vectors of another shape, dtype or device, DomainError for entries that are not finite, and
    MemoryBudgetError where ``budget`` is spent. All are raised before anything changes.

    >>> W = ConditionedMatrix(2, 10**6, 10**6, 1e-3, generator=torch.Generator().manual_seed(0))
    >>> x, z = torch.randn(2, 10**6, 1), torch.randn(2, 10**6, 1)
    >>> one, other = (z * W.matmul(x)).sum(1), (W.rmatmul(z) * x).sum(1)
    >>> bool(((one - other).abs() < 1e-4 * z.norm(dim=1) * x.norm(dim=1)).all())
    True
    """

    def __init__(
        self,
        nets: int,
        rows: int,
        columns: int,
        std: float,
        *,
        generator: torch.Generator,
        queries: int = 32,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        tolerance: float | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._nets, self._sizes, self._std = nets, (columns, rows), std
        self._generator, self._dtype, self._device = generator, dtype, torch.device(device)
        self._tolerance = 128 * torch.finfo(dtype).eps if tolerance is None else tolerance
        self._budget = budget or Budget(2**63)
        self._counts = [0, 0]
        self._missing = [torch.zeros(nets, dtype=torch.float64, device=self._device) for _ in range(2)]
        self._capacity = [queries, queries]
        self._slots = self._allocate()
        self._taken = 0
        self._learnt: Tensor | None = None
        self._unseen: Tensor | None = None
        self._explicit: DenseMatrix | None = None

    def matmul(self, x: Tensor) -> Tensor:
        """``W @ x`` for x of shape (nets, columns, any)."""
        return _Product.apply(x, self, RIGHT) if followed(x) else self.answer(x, RIGHT)

    def rmatmul(self, z: Tensor) -> Tensor:
        """``W.mT @ z`` for z of shape (nets, rows, any)."""
        return _Product.apply(z, self, LEFT) if followed(z) else self.answer(z, LEFT)

    @without_gradients
    def add(self, u: Tensor, v: Tensor) -> None:
        """``W += u @ v.mT`` for u (nets, rows, any) and v (nets, columns, any), exactly."""
        u, v = self._checked(u, LEFT), self._checked(v, RIGHT)
        if u.shape[1] != v.shape[1]:
            raise ArgumentError(f"add needs as many columns in u as in v; got {u.shape[1]} and {v.shape[1]}.")
        given, taken = (
            self._split(self._coordinates(y, side), side)[0].double() for y, side in ((u, LEFT), (v, RIGHT))
        )
        if self._explicit is not None:
            self._explicit.add(u.mT, v.mT)
            return
        m, k = self._counts
        change = torch.bmm(given.mT, taken)
        if self._learnt is None:
            self._learnt = torch.zeros(0, 0, dtype=torch.float64, device=self._device)
        self._learnt = _padded(self._learnt, self._nets, k, m).to(change) + change

    @without_gradients
    def squared_norm(self) -> Tensor:
        """``||W||_F²`` (nets,), in float64. The part outside all questions is drawn, as a chi-square, and later answers
        are conditional on it."""
        return self._start() + self.norm_change()

    @without_gradients
    def norm_change(self) -> Tensor:
        """The change of ``||W||_F²`` by :meth:`add` since W was drawn, (nets,), in float64; not computed as a
        difference of large numbers."""
        if self._explicit is not None:
            return self._explicit.norm_change()
        if self._learnt is None:
            return torch.zeros(self._nets, dtype=torch.float64, device=self._device)
        learnt = self._trained()
        return (learnt * (2 * self._seen() + learnt)).sum((1, 2))

    @without_gradients
    def state(self) -> dict[str, Any]:
        """Factors, counts and the generator's state: all that :meth:`restore` needs to continue with the same
        numbers."""
        own = {name: getattr(self, f"_{name}") for name in _STATE}
        known = {} if self._explicit else {"slots": [self._all(side).clone() for side in (RIGHT, LEFT)]}
        explicit = self._explicit and self._explicit.state()
        return {**own, **known, "explicit": explicit, "generator": self._generator.get_state()}

    @without_gradients
    def restore(self, state: dict[str, Any]) -> None:
        """Become the matrix whose :meth:`state` this is, and charge the budget for it alone. The generator's state is
        restored too."""
        self._budget.left += self._taken
        for name in _STATE:
            setattr(self, f"_{name}", state[name])
        self._budget.take(self._taken, f"Restoring the answers of {self._nets} matrices")
        self._generator.set_state(state["generator"].cpu())
        if state["explicit"] is not None:
            self._explicit = DenseMatrix(state["explicit"]["values"], state["explicit"]["change"])
            return
        self._explicit = None
        self._slots = self._allocate()
        for side in (RIGHT, LEFT):
            self._all(side).copy_(state["slots"][side])

    # -- what is known -------------------------------------------------------------------------------------------------

    def _region(self, side: int) -> slice:
        """The slots of the questions from one side: those of the right side end, and those of the left side start, in
        the middle."""
        middle = self._capacity[RIGHT]
        m, k = self._counts
        return slice(middle - m, middle) if side == RIGHT else slice(middle, middle + k)

    def _rows(self, side: int, at: slice) -> Tensor:
        """The vectors in some slots of a side, (nets, slots, length)."""
        return self._slots[side][at].transpose(0, 1)

    def _asked(self, side: int) -> Tensor:
        """``Q`` or ``P``, (nets, asked, length)."""
        return self._rows(side, self._region(side))

    def _drawn(self, side: int) -> Tensor:
        """``H`` for the right side, ``G`` for the left: the draws that answered the other side's questions."""
        return self._rows(side, self._region(1 - side))

    def _all(self, side: int) -> Tensor:
        """``[Q; H]`` or ``[G; P]``."""
        m, k = self._counts
        middle = self._capacity[RIGHT]
        return self._rows(side, slice(middle - m, middle + k))

    def _seen(self) -> Tensor:
        """``P W(0) Q^T``, (nets, k, m), in float64."""
        known = torch.bmm(self._asked(LEFT), self._drawn(LEFT).mT)
        return known.baddbmm_(self._drawn(RIGHT), self._asked(RIGHT).mT).double()

    def _start(self) -> Tensor:
        """``||W(0)||_F²``."""
        if self._explicit is not None:
            return self._explicit.squared_norm() - self._explicit.norm_change()
        if self._unseen is None:
            self._unseen = self._chi_square(*(c - z for c, z in zip(self._counts, self._missing)))
        # G^T Q and P^T H are orthogonal: a product of their parts is <p, g><q, h>, and the later of the draws g and h
        # makes its factor zero.
        return _square(self._drawn(RIGHT)) + _square(self._drawn(LEFT)) + self._unseen

    def _chi_square(self, m: Tensor, k: Tensor) -> Tensor:
        """A draw of the squared norm of a matrix outside the span of m questions from the right and k from the
        left."""
        freedom = (self._sizes[RIGHT] - m) * (self._sizes[LEFT] - k)
        gamma = torch._standard_gamma(freedom.cpu() / 2, generator=_cpu(self._generator))
        return 2 * self._std**2 * gamma.to(self._device)

    # -- questions -----------------------------------------------------------------------------------------------------

    @without_gradients
    def answer(self, x: Tensor, side: int) -> Tensor:
        """``W @ x``, or ``W.mT @ x`` for the left side, as numbers."""
        weights = self._coordinates(self._checked(x, side), side)
        if self._explicit is not None:
            return self._explicit.matmul(x) if side == RIGHT else self._explicit.rmatmul(x)
        if self._learnt is not None:
            asked, drawn = self._split(weights, side)
            learnt = self._trained().to(weights)
            drawn += torch.bmm(asked, learnt.mT if side == RIGHT else learnt)
        return torch.bmm(weights, self._all(1 - side)).mT

    def _coordinates(self, y: Tensor, side: int) -> Tensor:
        """The products of ``y`` with all vectors of a side, after the new part of ``y`` has been added to them; not
        used by an explicit matrix."""
        if self._explicit is not None:
            return y
        scale, size = sizes(y)
        y = y.contiguous() if scale is None else y / scale
        onto = self._learn(y, size, onto_rows(y, self._all(side)), side)
        return onto if scale is None else onto * scale

    def _split(self, onto: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Two views of coordinates on all vectors of a side: those on its questions, and those on its draws."""
        first, second = onto[..., : self._counts[RIGHT]], onto[..., self._counts[RIGHT] :]
        return (first, second) if side == RIGHT else (second, first)

    def _trained(self) -> Tensor:
        """``learnt``, with zeros for what was asked about later."""
        assert self._learnt is not None
        m, k = self._counts
        return _padded(self._learnt, self._nets, k, m)

    def _checked(self, x: Tensor, side: int) -> Tensor:
        """The vectors as rows, (nets, any, length)."""
        length = self._sizes[side]
        if x.ndim != 3 or x.shape[:2] != (self._nets, length) or x.dtype != self._dtype or x.device != self._device:
            raise ArgumentError(
                f"This matrix takes vectors of shape ({self._nets}, {length}, any), {self._dtype} on {self._device}, "
                f"from the {'right' if side == RIGHT else 'left'}; got {tuple(x.shape)}, {x.dtype} on {x.device}."
            )
        return x.mT

    def _learn(self, y: Tensor, size: Tensor, onto: Tensor, side: int, rounds: int = _ROUNDS) -> Tensor:
        """Add the new part of ``y``, whose lengths are ``size``, to the questions of a side. Return its coordinates
        ``onto`` all vectors of the side, the new ones included."""
        asked = self._asked(side)
        rest = torch.baddbmm(y, self._split(onto, side)[0], asked, alpha=-1) if self._counts[side] else y
        found = directions(rest, size, self._tolerance)
        if found is None:
            return onto
        turn, fresh, kept, share, settled = found
        count = turn.shape[1]
        if not self._pays(count):
            self._explicit = self._complete()
            return onto
        self._grow(count, side)
        new = self._rows(side, self._next(count, side))
        combine(turn, rest, new)
        if share < _AGAIN:
            again = torch.baddbmm(new, onto_rows(new, asked), asked, alpha=-1)
            combine(orthonormal(again), again, new)
        self._draw(count, kept, side)
        if not settled and rounds > 1:
            return self._learn(y, size, onto_rows(y, self._all(side)), side, rounds - 1)
        return torch.cat((fresh, onto) if side == RIGHT else (onto, fresh), 2)

    def _next(self, count: int, side: int) -> slice:
        """The slots of the next ``count`` questions from one side."""
        m, k = self._counts
        middle = self._capacity[RIGHT]
        return slice(middle - m - count, middle - m) if side == RIGHT else slice(middle + k, middle + k + count)

    def _draw(self, count: int, kept: Tensor | None, side: int) -> None:
        """Draw W's answers to the next ``count`` directions and count them in. Directions that are not ``kept`` (None
        keeps all) are zero."""
        slots = self._slots[1 - side][self._next(count, side)]
        draws = slots.normal_(0.0, self._std, generator=self._generator).transpose(0, 1)
        missing = self._missing[side]
        if kept is not None:
            draws.mul_(kept[..., None])
            missing = missing + (~kept).sum(1)
        self._leave_out_known(draws, 1 - side)
        if self._unseen is not None:
            ranks = [c - z for c, z in zip(self._counts, self._missing)]
            ranks[side] = self._counts[side] + count - missing
            found = _square(draws)
            factor = (self._unseen / (found + self._chi_square(*ranks)).clamp(min=1e-300)).sqrt()
            self._unseen = (self._unseen - factor**2 * found).clamp(min=0)
            draws.mul_(factor.to(draws)[:, None, None])
        self._missing[side] = missing
        self._counts[side] += count

    def _leave_out_known(self, draws: Tensor, side: int) -> None:
        """Subtract from the draws their parts along the questions of a side."""
        if self._counts[side]:
            asked = self._asked(side)
            draws.baddbmm_(onto_rows(draws, asked), asked, alpha=-1)

    # -- storage -------------------------------------------------------------------------------------------------------

    def _pays(self, more: int) -> bool:
        """Whether factors for this many more questions take less memory than the matrix."""
        columns, rows = self._sizes
        return (sum(self._counts) + more) * (rows + columns) <= rows * columns

    def _allocate(self) -> list[Tensor]:
        """Slots of both sides: (slot, nets, length), so that a draw fills memory without gaps."""
        shape = sum(self._capacity), self._nets
        return [torch.empty(*shape, length, dtype=self._dtype, device=self._device) for length in self._sizes]

    def _grow(self, count: int, side: int) -> None:
        """Make room for ``count`` more directions on one side, and charge the budget for them."""
        size = count * sum(self._sizes) * self._nets * self._dtype.itemsize
        self._budget.take(size, f"Storing the answers of {count} more questions to {self._nets} matrices")
        self._taken += size
        if self._counts[side] + count <= self._capacity[side]:
            return
        old = [self._all(end) for end in (RIGHT, LEFT)]
        self._capacity[side] = max(self._counts[side] + count, 2 * self._capacity[side])
        self._slots = self._allocate()
        for end in (RIGHT, LEFT):
            self._all(end).copy_(old[end])

    def _complete(self) -> DenseMatrix:
        """Draw the rest of the matrix, and store its entries in place of the factors."""
        columns, rows = self._sizes
        size = 2 * self._nets * rows * columns * self._dtype.itemsize
        self._budget.take(size, f"An explicit matrix of {rows} x {columns} for {self._nets} networks")
        self._budget.left += size // 2 + self._taken
        self._taken = size // 2
        values = torch.empty(self._nets, rows, columns, dtype=self._dtype, device=self._device)
        values.normal_(0.0, self._std, generator=self._generator)
        for side, z in ((LEFT, values), (RIGHT, values.mT)):
            asked = self._asked(side)
            z.sub_(torch.bmm(asked.mT, torch.bmm(asked, z)))
        if self._unseen is not None:
            values *= (self._unseen / _square(values).clamp(min=1e-300)).sqrt()[:, None, None]
        change = self.norm_change()
        asked, known = self._asked(RIGHT), self._drawn(RIGHT)
        if self._learnt is not None:
            known = known + torch.bmm(self._trained().to(values), asked)
        values += torch.bmm(self._drawn(LEFT).mT, asked)
        values += torch.bmm(self._asked(LEFT).mT, known)
        self._slots = []
        return DenseMatrix(values, change)


class _Product(torch.autograd.Function):
    """A product that torch can differentiate: its derivatives are products from the other side, which are questions
    like any other."""

    @staticmethod
    def forward(x: Tensor, matrix: ConditionedMatrix, side: int) -> Tensor:
        return matrix.answer(x, side).clone()  # no view, because a bias may be added in place

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.matrix, ctx.side = inputs[1:]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Product.apply(gradient, ctx.matrix, 1 - ctx.side), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _Product.apply(tangent, ctx.matrix, ctx.side)


def _square(z: Tensor) -> Tensor:
    """The sum of squares over all but the first axis, in float64."""
    return torch.linalg.vector_norm(z, dim=(1, 2), dtype=torch.float64) ** 2


def _padded(z: Tensor, nets: int, k: int, m: int) -> Tensor:
    """``z`` in the lower left of a (nets, k, m) tensor of zeros: questions from the right are added in front, those
    from the left at the end."""
    out = torch.zeros(nets, k, m, dtype=torch.float64, device=z.device)
    if z.numel():
        out[:, : z.shape[1], m - z.shape[2] :] = z
    return out


def _cpu(generator: torch.Generator) -> torch.Generator:
    """A generator on the CPU, seeded by ``generator`` unless it is one itself."""
    if generator.device.type == "cpu":
        return generator
    return source(None, draw_seed(generator))
