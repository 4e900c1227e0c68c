"""Results that come from a file, which may be damaged or somebody's: sizes, numbers and types are looked at before
anything is made of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from advmf.verify.verdict import Report

LARGEST = 2**28
"""Bytes of a value in a store, and of a JSON file: no results come near it, and what is larger is not read."""


def loads(text: str | bytes) -> Any:
    """The value of a JSON text, all numbers of which are finite; raises ValueError, also for one that is too deep.

    >>> loads("[1e400]")
    Traceback (most recent call last):
        ...
    ValueError: 1e400 is no finite number
    """

    def refuse(name: str) -> Any:
        raise ValueError(f"{name[:20]} is no finite number")

    def finite(number: str) -> Any:
        return value if math.isfinite(value := float(number)) else refuse(number)

    def integer(number: str) -> Any:
        return int(number) if len(number) < 300 else refuse(number)

    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite, parse_int=integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def valid(row: Mapping[str, Any]) -> Report:
    """The report of a row, of the types that it should have; raises TypeError, ValueError, KeyError or
    AttributeError."""
    report = Report.from_dict(row)
    if not report.findings:
        raise ValueError(f"{report.theorem} has no findings")
    texts = (report.theorem, report.net, *(v for f in report.findings for v in (f.label, f.reason)))
    texts += tuple(each for each in (report.p, report.q) if each is not None)
    if wrong := [each for each in texts if not isinstance(each, str)]:
        raise TypeError(f"{wrong[0]!r} is no text")
    numbers: list[Any] = [report.seed, report.seconds, *report.at.values()]
    for f in report.findings:
        numbers += [f.estimate, f.stderr, f.predicted, f.departure, f.resolution, f.p_value, f.alpha, f.effect]
        numbers += [value for r in f.rungs for value in (r.N, r.nets, r.mean, r.stderr)]
    if wrong := [each for each in numbers if not isinstance(each, int | float)]:
        raise TypeError(f"{report.theorem} holds {brief(wrong[0])} where a number belongs")
    if not isinstance(report.settings, dict):
        raise TypeError(f"the settings of {report.theorem} are {brief(report.settings)}")
    return report


def brief(value: Any) -> str:
    """A value in a message."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
