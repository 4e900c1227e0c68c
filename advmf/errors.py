"""The errors that advmf raises on purpose: each says what was given, what was expected and what to do."""


class AdvmfError(Exception):
    """Base of every error that advmf raises on purpose."""


class DeclarationError(AdvmfError, ValueError):
    """A network was declared whose moments the mean-field theory cannot carry."""


class DomainError(AdvmfError, ValueError):
    """A value lies outside the domain of its symbol."""


class ArgumentError(AdvmfError, TypeError):
    """An argument is missing, unknown, or of the wrong kind."""


class UnsupportedFunctionError(AdvmfError, NotImplementedError):
    """An expression holds a function for which no array function is registered."""


class MemoryBudgetError(AdvmfError, MemoryError):
    """A request does not fit the memory budget; nothing was allocated."""


class DataError(AdvmfError, ValueError):
    """A data set is missing, unreadable, or does not fit the network."""


class StepError(AdvmfError, ValueError):
    """A step of a derivation that is wrong, or that nothing here can verify."""


class StoreError(AdvmfError, RuntimeError):
    """A results file is missing, foreign, damaged, in use, full, or of another run; it was left as it was."""


class WorkerError(AdvmfError, RuntimeError):
    """Workers could not be reached, or died over and over at the same case; what was finished is kept."""
