"""Reading and validating the record of a check run, as ``advmf check --json`` writes it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from advmf.errors import DataError
from advmf.inputs import reading

EXPECTED = "the file that 'advmf check --json FILE' writes"
_ERROR = ("case", "net", "activation", "kind", "text")
_FIELDS = {"theorem": str, "net": str, "verdict": str, "activation": str, "findings": list, "at": dict}
OF_MATRICES = ("", "matrix")
"""The values in place of a net where there is none."""
VERDICTS = ("SUPPORTED", "NOT_REFUTED", "REFUTED", "UNDERPOWERED")


def read_results(path: str | Path) -> dict[str, Any]:
    """The record of a finished check run.

    Raises DataError for a file that cannot be read, is no JSON, has another format, or comes from a run that was
    interrupted.
    """
    with reading(path, DataError, f"Give {EXPECTED}") as file:
        content = file.read()
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON ({error}); expected {EXPECTED}.") from None
    return checked(record, str(path))


def checked(record: Any, name: str = "results") -> dict[str, Any]:
    """The record itself, if it has the format; raises DataError otherwise."""
    if not isinstance(record, Mapping) or not {"version", "seed", "results", "summary"} <= set(record):
        keys = sorted(record) if isinstance(record, Mapping) else type(record).__name__
        raise DataError(
            f"{name} has another format: expected {EXPECTED}, with version, seed, results and summary; got {keys}."
        )
    rows, summary, errors = record["results"], record["summary"], record.get("errors", [])
    if not _tells(errors):
        raise DataError(f"{name} has another format: its errors are no list of cases; expected {EXPECTED}.")
    if not isinstance(rows, list) or not (rows or errors) or not isinstance(summary, Mapping):
        raise DataError(f"{name} holds no results; expected {EXPECTED}.")
    for i, row in enumerate(rows):
        wrong = [
            key for key, kind in _FIELDS.items() if not (isinstance(row, Mapping) and isinstance(row.get(key), kind))
        ]
        if (
            wrong
            or row["verdict"] not in VERDICTS
            or not all(_is_number(row.get(k)) for k in ("ratio", "estimate", "predicted"))
        ):
            what = (
                f"{', '.join(wrong)} is missing or of another kind"
                if wrong
                else "verdict, ratio, estimate or predicted is wrong"
            )
            raise DataError(f"{name} has another format: in result {i + 1}, {what}; expected {EXPECTED}.")
    if summary.get("complete") is not True:
        raise DataError(f"{name} comes from a run that was interrupted; run 'advmf check --json {name}' to its end.")
    return dict(record)


def about(
    record: Mapping[str, Any], theorems: Collection[str], net: str, activations: Collection[str] | None = None
) -> dict[str, Any]:
    """The part of a record about given theorems and a net, and about Gaussian matrices; raises DataError where it is
    empty.

    The totals are those of this part. Negative controls are counted only if nothing was left out.
    """

    def is_about(row: Mapping[str, Any]) -> bool:
        named = row["net"] == net and (activations is None or row["activation"] in activations)
        return _theorem(row) in theorems and (row["net"] in OF_MATRICES or named)

    rows, errors = (list(filter(is_about, record.get(name, ()))) for name in ("results", "errors"))
    if not (rows or errors):
        there = dict.fromkeys(
            " ".join(filter(None, (_theorem(r), r["net"], r["activation"]))) for r in record["results"]
        )
        wanted = ", ".join(sorted(theorems))
        raise DataError(
            f"These results hold no verdict on {wanted} for {' '.join([net, *(activations or ())])}: they are about {'; '.join(there)}."
        )
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in VERDICTS}
    summary = {**record["summary"], **counts}
    if len(rows) < len(record["results"]):
        summary.pop("controls", None)
    return {**record, "results": rows, **({"errors": errors} if "errors" in record else {}), "summary": summary}


def _tells(errors: Any) -> bool:
    """Whether each of the errors says which case ended in what."""
    return isinstance(errors, list) and all(
        isinstance(error, Mapping) and all(isinstance(error.get(name), str) for name in _ERROR) for error in errors
    )


def _theorem(row: Mapping[str, Any]) -> str:
    """The catalogue's name of the theorem of a row; rows of a user's file are about its own bound."""
    return str(row.get("case") or str(row["theorem"]).partition(".")[0])


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
