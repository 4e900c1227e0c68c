"""Values that are tables: records, a pandas DataFrame, CSV, and a table in a notebook."""

from __future__ import annotations

import abc
import csv
import html
import io
import math
import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advmf.errors import ArgumentError
from advmf.outputs import Output, put

Records = list[dict[str, Any]]
MOST = 60
"""The most rows that a notebook shows of a table."""


class Tabled(abc.ABC):
    """Base of values that are a table. :meth:`records` gives its rows, and everything else follows from them."""

    @abc.abstractmethod
    def records(self) -> Records:
        """The rows, each a dictionary of values by column. A row need not have all columns."""

    def frame(self) -> Any:
        """The rows as a pandas DataFrame. Raises ArgumentError where pandas is not installed.

        >>> import advmf as mf
        >>> report = mf.check(mf.norm_factor(2, 2), at=dict(d=30, K=5), samples=400)
        >>> list(report.frame().columns[:5])
        ['theorem', 'net', 'p', 'q', 'finding']
        """
        try:
            import pandas
        except ImportError:
            raise ArgumentError(
                "A DataFrame needs pandas; install it with: python3 -m pip install pandas. records() gives the same rows as plain "
                "dictionaries, and csv() as text."
            ) from None
        return pandas.DataFrame.from_records(self.records())

    def csv(self, path: Path | str | Output | None = None) -> str:
        """The rows as CSV with a header and numbers in full precision, also written to ``path`` if one is given. Raises
        OutputError where it cannot be written."""
        rows, text = self.records(), io.StringIO()
        writer = csv.DictWriter(text, _columns(rows), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return put(text.getvalue(), path)

    def _repr_html_(self) -> str:
        rows = self.records()
        columns = _columns(rows)
        return html_table([[_shown(row.get(name)) for name in columns] for row in rows], columns)


def _columns(rows: Records) -> list[str]:
    """The columns of all rows, in the order in which they first appear.

    >>> _columns([{"d": 4, "K": 2}, {"d": 4, "L": 3}])
    ['d', 'K', 'L']
    """
    return list(dict.fromkeys(name for row in rows for name in row))


def html_table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    """An HTML table of texts, which are escaped; of a long one the first rows, and how many there are."""
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>" for row in rows[:MOST])
    more = f"<p>{MOST} of {len(rows)} rows</p>" if len(rows) > MOST else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _shown(value: Any) -> str:
    """A value for a reader: five digits of a number, nothing where there is none.

    >>> [_shown(value) for value in (0.123456789, 3, None, float("nan"), True)]
    ['0.12346', '3', '', '', 'True']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.5g}" if isinstance(value, numbers.Real) and not isinstance(value, int) else str(value)
