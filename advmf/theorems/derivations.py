"""The derivation of a theorem, by the theorem's name."""

from __future__ import annotations

from advmf.boundary import public
from advmf.errors import ArgumentError, one_of
from advmf.nets import Net
from advmf.theorems import THEOREMS
from advmf.theorems.scripted import Scripted
from advmf.theory.proof import Derivation


@public
def derivations(theorem: str, net: Net | None = None) -> list[Derivation]:
    """The derivations of a theorem about a net; they are run, and so verified.

    The package's theorems have steps for the vanilla and the residual network, of any slopes; ``beta`` takes no net. A
    registered theorem is derived by its own ``derive``, for its own net unless one is given.

    Raises ArgumentError for an unknown theorem, for a theorem or a net without a derivation, and where the installation
    lacks the scripts. Raises StepError for a wrong step.

    >>> import advmf as mf
    >>> [found] = mf.derivations("T1", mf.vanilla())
    >>> found.name, found.result.status
    ('T1', <Status.ASSUMED: 'assumed'>)
    >>> [proof] = mf.derivations("T2", mf.residual(u=1, v=0))
    >>> proof.result.right
    beta*eps*omega**(L/2)
    """
    name = one_of("theorem", theorem, THEOREMS)
    derive, about = THEOREMS[name].derive, THEOREMS[name].net if net is None else net
    if derive is None:
        raise ArgumentError(f"{name} has no derivation: its Theorem has no derive(net).")
    if isinstance(derive, Scripted) and not derive.covers(about):
        raise ArgumentError(f"{name} {derive.refusal(about)}")
    made = derive(about)
    return [made] if isinstance(made, Derivation) else list(made)


def derived(theorem: str, net: Net | None) -> bool:
    """Whether :func:`derivations` has steps for a theorem, given by its name in the catalogue, and a net.

    >>> import advmf as mf
    >>> derived("T1", mf.vanilla(1, 0)), derived("T1", mf.preactivation()), derived("beta", None)
    (True, False, True)
    """
    derive = THEOREMS[theorem].derive
    return derive.covers(net) if isinstance(derive, Scripted) else derive is not None
