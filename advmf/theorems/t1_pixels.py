"""T1 on images whose pixels differ: how large the entries of J(x) are at each of them."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import sympy as sp

from advmf.boundary import public
from advmf.claim import RHS, Claim, Equation, Regime, Relation
from advmf.nets import Net
from advmf.observables import Expectation, PixelSquare
from advmf.symbols import d
from advmf.theorems.theorem import PAPER, mutant, random_network
from advmf.theory.profile import Profile, profile


@public
def pixel_law(net: Net) -> Claim:
    """T1 on images: the mean square of the entries of J(x) at pixel i is s_i/d, with s the profile of the network.

    The claim is that of a corner; its equations have the middle of an edge and the centre too. Each is a mean over all
    pixels of the same s, which scatters less. It holds at every width, if the moments of the network do. Where
    positions are averaged the mean square depends on the image, and is at most s_i/d: the square of an average is at
    most the average of squares. Raises DeclarationError for a network without a profile (:func:`advmf.profile`).

    Source: ours; it is the law of J(x) of Kumano et al. (NeurIPS 2023) where all pixels are alike.

    >>> import advmf as mf
    >>> claim = mf.pixel_law(mf.conv(1, 0, padding="zero"))
    >>> [e.label for e in claim.equations], mf.kernel(claim)(L=2, sigma_w=2, d=64).round(4)
    (['E J², corner', 'E J², edge', 'E J², centre'], np.float64(0.0193))
    >>> claim.relation, mf.pixel_law(mf.conv(1, 0, head="pool")).relation
    ('==', '<=')
    """
    return _pixel_law(profile(net))


def _pixel_law(found: Profile, flat: bool = False) -> Claim:
    """The claim; if ``flat``, with the mean of the profile at every pixel."""
    net = found.net
    groups = _groups(found)
    mean = found.radius(sp.oo) ** 2 / d
    sizes = [(mean if flat else found.share(place)) / d for place, *_ in groups.values()]
    means = [Expectation(sp.Add(*map(PixelSquare, group)) / len(group)) for group in groups.values()]
    return Claim(
        name="T1.pixels",
        lhs=means[0],
        relation=Relation.EQUAL if found.exact else Relation.AT_MOST,
        formula=sizes[0],
        where={},
        regime=Regime.EXACT if net.exact else Regime.LARGE_WIDTH,
        assumptions=(
            *random_network(net),
            "activations scale with their input, so that a gate is on with probability 1/2 at every position",
            *(() if found.exact else ("the square of an average over positions is at most the average of squares",)),
        ),
        source=f"{PAPER}, linear-like form; the profile of pixels is ours",
        equations=tuple(
            Equation(f"E J², {name}", left, *(2 * (size if i else RHS,)), net.exact)
            for i, (name, left, size) in enumerate(zip(groups, means, sizes))
        ),
        net=net,
    )


def _groups(found: Profile) -> dict[str, list[int]]:
    """The pixels with the s of a corner, of the middle of an edge and of the centre, as numbers of positions, these
    first; all of them where all have the same s. They are told by their numbers at one point, at which different sums
    of paths differ."""
    assert found.net.image is not None
    *others, last = found.net.image[1:]
    centre = others[0] // 2 * last if others else 0
    places = {"corner": 0, **({"edge": last // 2} if others else {}), "centre": centre + last // 2}
    names = sorted({s.name for number in found.code for s in number.free_symbols})
    values = found.at(**{name: 3 if name == "L" else 1 + (k + 1) / 7 for k, name in enumerate(names)}).ravel()
    alike = {name: np.isclose(values, values[place], rtol=1e-9).nonzero()[0] for name, place in places.items()}
    if all(len(group) == len(values) for group in alike.values()):
        return {"all pixels": list(range(len(values)))}
    return {name: [places[name], *(int(i) for i in group if i != places[name])] for name, group in alike.items()}


def flattened(claim: Claim) -> Claim:
    """The claim with the mean of the profile at every pixel: wrong where pixels differ."""
    assert claim.net is not None
    return replace(_pixel_law(profile(claim.net), flat=True), name=f"{claim.name} [profile flattened]")


def of_independent(claim: Claim) -> Claim:
    """The bound over n, for n independent positions: wrong where positions are averaged, as their tangents are
    alike."""
    assert claim.net is not None and claim.net.image is not None
    positions = prod(claim.net.image[1:])
    wrong = mutant(claim, "positions taken for independent", lambda e: e / positions)
    sizes = (replace(e, rhs=e.rhs / positions, scale=e.scale / positions) for e in claim.equations[1:])
    return replace(wrong, equations=(claim.equations[0], *sizes))


def of_flatten(claim: Claim) -> Claim:
    """The claim as an equality, which it is without averages: wrong of a pooled head."""
    assert claim.net is not None
    mistake = "pooled head taken for flatten" if claim.net.head == "pool" else "averages left out"
    return replace(claim, name=f"{claim.name} [{mistake}]", relation=Relation.EQUAL)
