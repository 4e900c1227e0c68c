"""The boundary of the package: a wrong call of a public function never ends in a traceback from inside.

Names of arguments are checked before anything runs. The function itself checks values, with its own error messages. If
it fails on a value whose type differs from its signature, the error becomes an :class:`~advmf.errors.ArgumentError`
that names the argument, the expected type and the given value.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import numbers
import operator
import reprlib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from advmf.errors import AdvmfError, ArgumentError, DomainError

T = TypeVar("T", bound=Callable[..., Any])
Item = TypeVar("Item")

WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "True or False",
    "NoneType": "None",
    "object": "anything",
    "Net": "a Net, such as advmf.residual(u=1, v=0)",
    "Claim": "a Claim, such as advmf.loss_bound(net, p, q)",
    "Equation": "an Equation, such as advmf.Equation(label, lhs, rhs, scale)",
    "Expr": "a SymPy expression",
    "Symbol": "a SymPy symbol",
    "Basic": "a SymPy object",
    "Images": "Images, as advmf.simulate.load() gives them",
    "Ensemble": "an Ensemble, as advmf.simulate.sample() gives it",
    "Trace": "a Trace, as ensemble.traces(x) gives it",
    "Generator": "a torch.Generator",
    "Design": "a Design, such as advmf.Design(alpha=0.01)",
    "Sequence": "a sequence",
    "Iterable": "an iterable",
    "Mapping": "a mapping, such as a dict",
    "MutableMapping": "a dict",
    "Callable": "a function",
    "Tensor": "a tensor",
}
"""The words for values of a type in an error, by the type's name."""

NUMBERS: dict[Any, type] = {int: numbers.Integral, float: numbers.Real}
"""A number may be Python's, NumPy's or SymPy's."""


def public(thing: T) -> T:
    """A decorator: a wrong call of a public function, or of the constructor of a class, raises an error of advmf
    instead of a traceback from inside.

    ``int`` and ``float`` stand for whole and real numbers of any library, and every item of a sequence or mapping is
    checked.

    Raises ArgumentError for a missing or unknown argument, and for an argument of the wrong type on which the function
    failed.

    >>> from collections.abc import Sequence
    >>> @public
    ... def total(terms: Sequence[int], start: int = 0) -> int:
    ...     return sum(terms, start)
    >>> total([1, 2], start=3)
    6
    >>> total([1, "2"])
    Traceback (most recent call last):
        ...
    advmf.errors.ArgumentError: total: terms takes a sequence, each item an integer; got [1, '2'] (list).
    >>> total([1], stat=3)
    Traceback (most recent call last):
        ...
    advmf.errors.ArgumentError: total has no argument stat; its arguments are terms, start. Did you mean start?
    """
    if not isinstance(thing, type):
        return cast(T, _checked(thing))
    cls: Any = thing
    if "__new__" in vars(cls):
        cls.__new__ = _checked(cls.__new__)
    if "__init__" in vars(cls):
        cls.__init__ = _checked(cls.__init__)
    return thing


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a check of its arguments' names before the call, and of their annotations if the call fails."""
    signature = inspect.signature(function)
    name = function.__qualname__.removesuffix(".__init__").removesuffix(".__new__")

    @functools.cache
    def hints() -> dict[str, Any]:
        return typing.get_type_hints(function)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(_misfit(name, signature, kwargs, error)) from None
        try:
            return function(*args, **kwargs)
        except AdvmfError:
            raise
        except Exception as error:
            for argument, value in bound.arguments.items():
                hint = hints().get(argument, object)
                for each in _given(value, signature.parameters[argument].kind):
                    if not fits(each, hint):
                        wrong = f"{name}: {argument} takes {described(hint)}; got {shown(each)}."
                        raise ArgumentError(wrong) from error
            raise

    return checked


def whole(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """A whole number of any library as a Python integer.

    Raises ArgumentError for a value that is no whole number, DomainError for one below ``least`` or above ``most``.

    >>> import numpy as np
    >>> whole("steps", np.int64(3))
    3
    >>> whole("steps", 0)
    Traceback (most recent call last):
        ...
    advmf.errors.DomainError: steps must be at least 1; got 0.
    """
    try:
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        count = None
    if count is None or isinstance(value, bool):
        raise ArgumentError(f"{name} must be an integer; got {shown(value)}.")
    if count < least:
        raise DomainError(f"{name} must be at least {least}; got {count}.")
    if most is not None and count > most:
        raise DomainError(f"{name} must be at most {most:,}, for a run to end; got {count:,}.")
    return count


def share_of(name: str, value: object) -> float:
    """A share of a whole, above 0 and at most 1, as a float.

    Raises ArgumentError for a value that is no number, DomainError for one outside (0, 1].

    >>> share_of("attacked", 0.25)
    0.25
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ArgumentError(f"{name} is a share of the networks, a number; got {shown(value)}.")
    if not 0 < float(value) <= 1:
        raise DomainError(f"{name} is a share of the networks, above 0 and at most 1; got {shown(value)}.")
    return float(value)


def all_of(kind: type[Item], name: str, items: Iterable[Item]) -> list[Item]:
    """The items as a list, each of one kind.

    Raises ArgumentError for anything else, with the ``name`` of what takes them.

    >>> all_of(str, "names", ["a", "b"])
    ['a', 'b']
    >>> all_of(str, "names", 3)
    Traceback (most recent call last):
        ...
    advmf.errors.ArgumentError: names takes a sequence, each item a string; got 3 (int).
    """
    wanted = types.GenericAlias(Sequence, (kind,))
    try:
        found = list(items)
    except TypeError:
        found = None
    if found is None or not fits(found, wanted):
        raise ArgumentError(f"{name} takes {described(wanted)}; got {shown(items if found is None else found)}.")
    return found


def _given(value: Any, kind: Any) -> Collection[Any]:
    """The values of one parameter: several for ``*args`` and ``**kwargs``."""
    if kind is inspect.Parameter.VAR_POSITIONAL:
        return cast(Collection[Any], value)
    return cast(Collection[Any], value.values()) if kind is inspect.Parameter.VAR_KEYWORD else (value,)


def _misfit(name: str, signature: inspect.Signature, given: Mapping[str, Any], error: TypeError) -> str:
    """Why the arguments of a call do not fit a signature."""
    known = [p for p in signature.parameters if p not in ("self", "cls")]
    unknown = [argument for argument in given if argument not in signature.parameters]
    if not unknown:
        return f"{name}: {error}; its arguments are {', '.join(known)}."
    near = difflib.get_close_matches(unknown[0], known, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"{name} has no argument {', '.join(unknown)}; its arguments are {', '.join(known)}.{hint}"


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of the annotated type, and its items too where they can be read without being consumed."""
    if hint in (Any, object):
        return True
    if hint is None:
        return value is None
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin is typing.Literal:
        return any(value is each or value == each for each in inner if type(value) is type(each))
    kind = NUMBERS.get(hint, origin or hint)
    if kind is Callable:
        return callable(value)
    if not isinstance(kind, type):
        return True  # a type variable, or the like
    if not isinstance(value, kind) or (isinstance(value, str | bytes) and origin and issubclass(kind, Iterable)):
        return False
    return _items_fit(value, kind, inner)


def _items_fit(value: Any, kind: type, inner: tuple[Any, ...]) -> bool:
    """Whether the items of a container fit the annotations between its brackets."""
    if not inner:
        return True
    if issubclass(kind, Mapping):
        return all(fits(k, inner[0]) and fits(v, inner[-1]) for k, v in value.items())
    if issubclass(kind, tuple) and inner[-1] is not Ellipsis:
        return len(value) == len(inner) and all(map(fits, value, inner))
    if issubclass(kind, Collection):
        return all(fits(item, inner[0]) for item in value)
    return True


def described(hint: Any) -> str:
    """The type that an annotation requires, in words.

    >>> described(int | str | None)
    'an integer, a string or None'
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is None:
        return "None"
    if origin in (typing.Union, types.UnionType):
        words = list(dict.fromkeys(described(each) for each in inner))
        return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, inner))}"
    name = getattr(origin or hint, "__name__", str(hint))
    words = WORDS.get(name, f"a {name}")
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return f"a tuple of {len(inner)}: {', '.join(described(each) for each in inner)}"
    items = [each for each in inner if each not in (Any, object, Ellipsis)]
    if items and isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, Mapping):
        return f"{words}, each item {described(items[0])}"
    return words


def shown(value: object) -> str:
    """A value as shown in an error: shortened, with its type."""
    try:
        text = reprlib.repr(value)
    except Exception:  # an error in a foreign object's repr must not hide ours
        text = "a value without a repr"
    return f"{text} ({type(value).__name__})"
