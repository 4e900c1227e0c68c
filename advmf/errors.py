"""The errors that advmf raises on purpose. Each says what was given, what was expected and what to do."""

import difflib
from collections.abc import Iterable


def printable(text: str) -> str:
    """Text that is safe for a terminal: control characters such as ESC are written as ``\\x1b``.

    >>> print(printable("a\\x1b[2Jb"))
    a\\x1b[2Jb
    """
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


class AdvmfError(Exception):
    """Base of every error that advmf raises on purpose. Text that it quotes from files is safe for a terminal."""

    def __str__(self) -> str:
        return printable(super().__str__())


class DeclarationError(AdvmfError, ValueError):
    """A network was declared whose moments the mean-field theory cannot carry."""


class DomainError(AdvmfError, ValueError):
    """A value lies outside the domain of its symbol."""


class NonFiniteError(DomainError):
    """Computed numbers are NaN or infinite where finite ones are needed."""


class AccuracyError(AdvmfError, ArithmeticError):
    """A number cannot be computed to the promised accuracy."""


class ArgumentError(AdvmfError, TypeError):
    """An argument is missing, unknown, or of the wrong kind."""


class UnsupportedFunctionError(AdvmfError, NotImplementedError):
    """An expression holds a function for which no array function is registered."""


class BudgetError(AdvmfError):
    """A request outgrows its budget of bytes or seconds; nothing was begun."""


class MemoryBudgetError(BudgetError, MemoryError):
    """A request does not fit the memory budget; nothing was allocated."""


class DataError(AdvmfError, ValueError):
    """A data set is missing, unreadable, or does not fit the network."""


class StepError(AdvmfError, ValueError):
    """A step of a derivation is wrong, or cannot be verified."""


class OutputError(AdvmfError, OSError):
    """A file cannot be written; its old content is unchanged."""


class StoreError(AdvmfError, RuntimeError):
    """A results file is missing, foreign, damaged, in use, full, or of another run; it was left as it was."""


class WorkerError(AdvmfError, RuntimeError):
    """Workers could not be reached, or died repeatedly at the same case; finished cases are kept."""


class CaseError(AdvmfError, RuntimeError):
    """A case of a suite ended in an unexpected error, a bug of advmf or of a theorem's code; its notes hold the
    traceback."""


INPUT_ERRORS = (ArgumentError, DomainError, DeclarationError, DataError, BudgetError)
"""The errors of what was asked for. :class:`NonFiniteError` is one of computed numbers all the same."""


def of_input(error: Exception) -> bool:
    """Whether an error is about what was asked for, not about what was computed.

    >>> of_input(ArgumentError("no such net")), of_input(AccuracyError("too few terms"))
    (True, False)
    """
    return isinstance(error, INPUT_ERRORS) and not isinstance(error, NonFiniteError)


def one_of(kind: str, name: str, known: Iterable[str]) -> str:
    """The known name that equals ``given`` up to upper and lower case; raises ArgumentError, which suggests similar
    names, if there is none.

    >>> one_of("net", "Vanilla", ("vanilla", "residual"))
    'vanilla'
    >>> one_of("net", "vanila", ("vanilla", "residual"))
    Traceback (most recent call last):
        ...
    advmf.errors.ArgumentError: There is no net 'vanila'; choose from vanilla, residual. Did you mean vanilla?
    """
    names = {each.lower(): each for each in known}
    low = str(name).lower()
    if low in names:
        return names[low]
    close = difflib.get_close_matches(low, names, n=2, cutoff=0.5)
    near = [names[each] for each in names if each in close]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ArgumentError(f"There is no {kind} {name!r}; choose from {', '.join(names.values())}.{hint}")


def refuse_unused(where: str, given: Iterable[str], used: Iterable[str]) -> None:
    """Raise ArgumentError, which suggests similar names, for a given name that nothing uses.

    >>> refuse_unused("at", ["k"], ["d", "K"])
    Traceback (most recent call last):
        ...
    advmf.errors.ArgumentError: at: nothing here uses 'k'; what is used is K, d. Did you mean K?
    """
    used = sorted(used)
    for name in sorted(set(given) - set(used)):
        close = difflib.get_close_matches(name.lower(), [each.lower() for each in used], n=2, cutoff=0.5)
        near = [each for low in close for each in used if each.lower() == low]
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ArgumentError(f"{where}: nothing here uses {name!r}; what is used is {', '.join(used)}.{hint}")
