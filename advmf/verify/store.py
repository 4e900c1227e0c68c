"""Results in one SQLite file that survives interrupts: written by the coordinator alone, one transaction for each
finished case.

The file is in write-ahead mode, so that it can be read while a run goes on. A run holds a lock beside it, which the
system releases when the process ends, however it ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from advmf.errors import StoreError
from advmf.inputs import is_file, reading, real, status
from advmf.verify.foreign import LARGEST, brief, loads, valid
from advmf.verify.records import ERROR, FORMAT, STATED, Record, Results, of_another_format, text

APPLICATION = int.from_bytes(b"amf1", "big")
"""SQLite's application id of a results file, which tells it from other databases."""

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {FORMAT};
CREATE TABLE run (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE results (
  key TEXT PRIMARY KEY, position INTEGER NOT NULL, place INTEGER NOT NULL, control INTEGER NOT NULL,
  theorem TEXT NOT NULL, net TEXT NOT NULL, activation TEXT NOT NULL, p TEXT, q TEXT, verdict TEXT NOT NULL,
  claim TEXT NOT NULL, report TEXT NOT NULL, sha256 TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE parts (
  position INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (position, name)
) WITHOUT ROWID;
"""


def read(path: Path | str) -> Results:
    """The results in a file, also while a run is writing it. The reports equal those of the run.

    Raises StoreError for a file that is missing, damaged, of another format, or no results file. The file is never
    changed.
    """
    path = _real(path)
    if status(path, StoreError) is None:
        raise StoreError(f"There is no results file {path}; 'advmf check --store {path}' makes one.")
    if _is_new(path):
        raise StoreError(f"{path} is empty: no run has written to it yet.")
    with _damage(path), closing(_connect(path, reading=True)) as db:
        return _read(path, db)


def is_store(path: Path) -> bool:
    """Whether a file begins as a store does. A file that a run has only just begun to write may not do so yet."""
    try:
        head = _head(path) if is_file(path, StoreError) else b""
    except StoreError:
        return False
    return head.startswith(b"SQLite format 3\0") and int.from_bytes(head[68:72], "big") == APPLICATION


class Store:
    """A results file that this process writes; see :func:`opened`."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db

    def add(self, records: Sequence[Record]) -> None:
        """Keep the records of a finished case, all or none. Raises StoreError where they cannot be written."""
        with self._writing():
            self._db.executemany(
                f"INSERT INTO results VALUES ({', '.join('?' * 13)})",
                [_row(place, record, len(records)) for place, record in enumerate(records)],
            )
            self._db.execute("DELETE FROM parts WHERE position = ?", [records[0].position])

    def keep(self, position: int, parts: Mapping[str, Any]) -> None:
        """Keep the finished parts of an unfinished case, as JSON-ready values by name. Raises StoreError where it
        cannot be written."""
        values = {name: json.dumps(value, allow_nan=False) for name, value in parts.items()}
        rows = [(position, name, value, _digest(position, name, value)) for name, value in values.items()]
        with self._writing():
            self._db.executemany("INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?)", rows)

    def fail(self, position: int, kind: str, text: str) -> None:
        """Keep the error that a case ended in, until the case is finished."""
        self.keep(position, {ERROR: {"kind": kind, "text": text}})

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.path} cannot be written: {error}. What it held before is safe: make room, and go on with resume=True (--resume)."
            ) from None


@contextmanager
def opened(
    path: Path | str, configuration: Mapping[str, Any], *, command: str = "", resume: bool = False
) -> Iterator[tuple[Store, Results]]:
    """The results file of one run, locked for it, with what it holds so far. It is made if there is none.

    Raises StoreError, and leaves the file as it is, in these cases: another run has it locked; it is damaged, or no
    results file; it holds the results of another run; it holds those of this run and ``resume`` is False. At the end of
    a block that ends well, raises StoreError where the file is no longer there.
    """
    path = _real(path)
    wanted = json.loads(text(configuration))
    with _locked(path):
        if _is_new(path):
            with _damage(path), closing(_connect(path)) as db:
                db.executescript(f"BEGIN;{_SCHEMA}")
                entries = {"configuration": text(wanted), "command": command}
                entries["sha256"] = _digest(*entries.values())
                db.executemany("INSERT INTO run VALUES (?, ?)", entries.items())
                db.execute("COMMIT")
                db.execute("PRAGMA journal_mode = WAL")
            found = Results(wanted, command, ())
        else:
            found = read(path)
            _accept(path, found, wanted, resume)
        with closing(_connect(path)) as db:
            db.execute("PRAGMA synchronous = FULL")  # a finished case survives a power cut, too
            own = status(path, StoreError)
            yield Store(path, db), found
            now = status(path, StoreError)
            if now is None or own is None or not os.path.samestat(now, own):
                raise StoreError(
                    f"{path} was deleted, moved or replaced while the run wrote it, and holds nothing of what was computed since. "
                    "Run it again, into a file that stays."
                )


def _accept(path: Path, found: Results, wanted: Mapping[str, Any], resume: bool) -> None:
    there = found.configuration
    if different := [name for name in wanted if there.get(name) != wanted[name]]:
        told = [name for name in different if name != "cases"]  # which hold the hashes of all the rest
        values = "; ".join(f"{name} is {brief(there.get(name))} there and {brief(wanted[name])} here" for name in told)
        values = values or "its claims, or the points and scales of their checks, are others"
        raise StoreError(
            f"{path} holds another run: {values}. Give the options of that run ({found.command or 'unknown'}), or another file."
        )
    if not resume:
        state = f"{len(found.finished)} of {len(wanted['cases'])} cases of this run"
        raise StoreError(
            f"{path} already holds {state}. Add resume=True (--resume) to take them over and compute the rest, or give another file."
        )


def _real(path: Path | str) -> Path:
    """The file that a path leads to, links resolved. SQLite keeps the file's journal beside one of its names, and the
    lock lies there too."""
    found, place = status(path, StoreError), real(path, StoreError)
    if found is None:
        return place
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} is no file; give the path of one.")
    if found.st_nlink > 1:
        raise StoreError(
            f"{path} has {found.st_nlink} names (hard links), and what a run is writing lies beside one of them alone. Give a file "
            "with one name, such as a copy."
        )
    return place


def _is_new(path: Path) -> bool:
    """Whether nothing is there: no file, an empty one, or a database without tables. A kill at the start leaves such a
    database behind."""
    found = status(path, StoreError)
    if found is None or found.st_size == 0:
        return True
    head = _head(path)
    if not head.startswith(b"SQLite format 3\0"):
        raise StoreError(
            f"{path} is no results file of advmf, nor any SQLite file; it is left as it is. Give another file."
        )
    broken = _has(path, "-journal")  # a kill while the tables were made, or another program at work
    if int.from_bytes(head[68:72], "big") not in ((APPLICATION,) if broken else (0, APPLICATION)):
        raise StoreError(f"{path} is a database of another program; it is left as it is. Give another file.")
    with _damage(path), closing(_connect(path, reading=True)) as db:
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return True
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            raise StoreError(f"{path} is a database of another program; it is left as it is. Give another file.")
        if (number := db.execute("PRAGMA user_version").fetchone()[0]) != FORMAT:
            raise of_another_format(path, number, *_origin(db))
    return False


def _head(path: Path) -> bytes:
    with reading(path, StoreError) as file:
        return file.read(100)


def _has(path: Path, ending: str) -> bool:
    """Whether a side file lies beside a database."""
    return status(path.with_name(path.name + ending), StoreError) is not None


def _origin(db: sqlite3.Connection) -> tuple[str, str]:
    """The version and the command that wrote a results file of any format, as far as the file tells them."""
    try:
        run = dict(db.execute("SELECT name, value FROM run"))
        return str(json.loads(run["configuration"])["version"]), str(run.get("command", ""))
    except (sqlite3.Error, ValueError, KeyError, TypeError):
        return "", ""


def _connect(path: Path, reading: bool = False) -> sqlite3.Connection:
    """A connection. A file that no run is writing is read without the side files that reading a live one needs."""
    mode = "rwc"
    if reading and not _has(path, "-journal"):
        mode = "ro" if _has(path, "-wal") else "ro&immutable=1"
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
    return db


@cache
def _tables() -> frozenset[tuple[str, str, str]]:
    """The schema of a results file, as SQLite tells it."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_SCHEMA)
        return frozenset(db.execute("SELECT type, name, sql FROM sqlite_master"))


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise StoreError(
            f"{path} cannot be read as a results file of format {FORMAT}: {why}. It is left as it is; restore it from a copy, or run it again "
            "into another file."
        ) from None


def _read(path: Path, db: sqlite3.Connection) -> Results:
    if different := set(db.execute("SELECT type, name, sql FROM sqlite_master")) ^ _tables():  # a view may be endless
        raise sqlite3.DatabaseError(f"its tables are others: {', '.join(sorted({name for _, name, _ in different}))}")
    if (state := db.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
        raise sqlite3.DatabaseError(state)
    run = dict(db.execute("SELECT name, value FROM run"))
    if _digest(run["configuration"], run["command"]) != run["sha256"]:
        raise sqlite3.DatabaseError("the configuration, or the command, is not what was written")
    configuration = loads(run["configuration"])
    for name, kind in (("version", str), ("seed", int), ("cases", list)):
        if not isinstance(configuration[name], kind):
            raise TypeError(f"its {name} is {brief(configuration[name])}")
    for case in configuration["cases"]:
        int(case["claims"])
    with _snapshot(db):
        return Results(configuration, run["command"], tuple(_records(db)), _parts(db))


@contextmanager
def _snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """Everything that is read within is of one moment, though a run is writing the file."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _records(db: sqlite3.Connection) -> Iterator[Record]:
    totals = dict(db.execute("SELECT position, count(*) FROM results GROUP BY position"))
    for row in db.execute(f"SELECT {', '.join(COLUMNS)}, sha256 FROM results ORDER BY position, place"):
        *values, digest = row
        of = dict(zip(COLUMNS, values))
        if _digest(*values, totals[of["position"]]) != digest:
            raise sqlite3.DatabaseError(f"the result {of['key'][:12]}, or another of its case, is not what was written")
        said, found = loads(of["claim"]), valid(loads(of["report"]))
        if not of["control"] and (missing := sorted(set(STATED) - set(said))):
            raise KeyError(missing[0])
        yield Record(
            of["key"], of["position"], bool(of["control"]), of["theorem"], of["net"], of["activation"], said, found
        )


def _parts(db: sqlite3.Connection) -> dict[int, dict[str, Any]]:
    parts: dict[int, dict[str, Any]] = {}
    for position, name, value, digest in db.execute(
        "SELECT position, name, value, sha256 FROM parts ORDER BY position"
    ):
        if _digest(position, name, value) != digest:
            raise sqlite3.DatabaseError(f"the part {name} is not what was written")
        part = parts.setdefault(position, {})[name] = json.loads(value)
        if name == ERROR and not all(isinstance(part[key], str) for key in ("kind", "text")):
            raise TypeError(f"the error of case {position} is no text")
    return parts


COLUMNS = (
    "key", "position", "place", "control", "theorem", "net", "activation", "p", "q", "verdict", "claim", "report",
)  # fmt: skip
"""The columns that the checksum of a result covers. It also covers the number of results of the case."""


def _row(place: int, record: Record, total: int) -> tuple[Any, ...]:
    claim, report = text(record.claim), text(record.report.to_dict())
    of = record.report
    values = (
        record.key, record.position, place, int(record.control), record.theorem, record.net, record.activation, of.p, of.q, str(of.verdict),
        claim, report,
    )  # fmt: skip
    return (*values, _digest(*values, total))


def _digest(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """The lock of a results file. It is on a file beside it, for a lock on the database itself would be lost when any
    other descriptor on it is closed."""
    import fcntl

    lock = path.with_name(path.name + ".lock")
    try:
        while True:
            file = lock.open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                file.close()
                raise StoreError(
                    f"Another run (process {holder}) is writing {path}. Wait for it, or give another file."
                ) from None
            with suppress(FileNotFoundError):
                if os.fstat(file.fileno()).st_ino == lock.stat().st_ino:
                    break
            file.close()  # the holder before us removed it
    except OSError as error:
        raise StoreError(f"{path} cannot be locked: {error}. Give a file in a folder that can be written.") from None
    try:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
    finally:
        lock.unlink(missing_ok=True)
        file.close()
