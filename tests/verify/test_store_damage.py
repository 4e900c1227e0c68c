"""Stores that were altered, linked, deleted in mid-run, or made by somebody who means harm."""

import json
import os
import random
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from advmf import cli
from advmf.errors import StoreError
from advmf.report.document import read as read_document
from advmf.verify import provenance, runs, suite
from advmf.verify.foreign import loads
from advmf.verify.runs import run
from advmf.verify.store import read

TINY = replace(suite.QUICK, scales={"F1": suite.Scale(L=2, d=16, K=2, widths=(8, 16), nets=(9, 9))})


def tiny(**options):
    return run(suite.cases(["F1"], ["vanilla"], profile=TINY)[:2], **options)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A store in which one case of two is finished, and something of the other."""
    path = tmp_path_factory.mktemp("fresh") / "run.db"
    stopped = tiny(store=path, command="advmf check --theorem F1")
    next(stopped)
    stopped.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM results").fetchone()[0] > 1
    return path


def everything(path):
    """Every value that a store holds, by table, row and column."""
    with closing(sqlite3.connect(path)) as db:
        for table, key in (("run", "name"), ("results", "key"), ("parts", "name")):
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            for row in db.execute(f"SELECT {', '.join(names)} FROM {table}").fetchall():
                of = dict(zip(names, row))
                yield from ((table, key, of[key], name, value) for name, value in of.items())


def altered(value):
    """Values like one, and others."""
    if isinstance(value, int):
        return [value + 1, 1 - value]
    if value is None:
        return ["1"]
    texts = [value + " ", value[1:], value.replace("1", "2", 1), value.swapcase()]
    return [text for text in texts if text != value]


def test_every_value_of_a_store_counts(fresh, tmp_path):
    """Of every row and every column, also those of which reports are not made: the kind, not the example."""
    tried = 0
    for table, key, of, name, value in everything(fresh):
        for other in altered(value):
            path = tmp_path / f"{tried}.db"
            shutil.copy(fresh, path)
            with closing(sqlite3.connect(path)) as db, db:
                db.execute(f"UPDATE {table} SET {name} = ? WHERE {key} = ?", [other, of])
            with pytest.raises(StoreError, match="cannot be read"):
                read(path)
            tried += 1
            path.unlink()
    assert tried > 50


def test_rows_that_are_gone_are_missed(fresh, tmp_path):
    path = tmp_path / "run.db"
    keys = [of for table, _, of, name, _ in everything(fresh) if (table, name) == ("results", "key")]
    for key in keys:
        shutil.copy(fresh, path)
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("DELETE FROM results WHERE key = ?", [key])
        with pytest.raises(StoreError, match="another of its case"):
            read(path)


def test_flipped_bits_are_noticed_or_change_nothing(fresh, tmp_path):
    """Anywhere in the file."""
    path, whole, chance = tmp_path / "run.db", read(fresh), random.Random(0)
    content = fresh.read_bytes()
    noticed = 0
    for _ in range(150):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        try:
            assert read(path) == whole
        except StoreError:
            noticed += 1
    assert noticed > 20


@pytest.mark.parametrize("link", ["file", "two links", "folder"])
def test_a_store_behind_a_link_is_one_store(link, tmp_path):
    """While a run writes it: what is in its journal is seen, and no second run starts."""
    (tmp_path / "real").mkdir()
    real, given = tmp_path / "real" / "run.db", tmp_path / "link.db"
    if link == "folder":
        (tmp_path / "there").symlink_to("real")
        given = tmp_path / "there" / "run.db"
    else:
        (tmp_path / "first.db").symlink_to("real/run.db")
        given.symlink_to("first.db" if link == "two links" else "real/run.db")
    going = tiny(store=given)
    next(going)
    assert read(given).finished == read(real).finished == {0}
    for path in (given, real):
        with pytest.raises(StoreError, match="Another run"):
            list(tiny(store=path, resume=True))
    going.close()
    assert len(list(tiny(store=real, resume=True))) == 2 and read(given).complete
    assert os.listdir(tmp_path / "real") == ["run.db"]
    assert sum(path.is_file() and not path.is_symlink() for path in tmp_path.iterdir()) == 0


def test_a_file_with_two_names_is_refused(fresh, tmp_path):
    path = tmp_path / "run.db"
    shutil.copy(fresh, path)
    (tmp_path / "other.db").hardlink_to(path)
    for act in (read, lambda path: list(tiny(store=path, resume=True))):
        with pytest.raises(StoreError, match="2 names"):
            act(path)


@pytest.mark.parametrize("gone", ["deleted", "moved", "replaced", "folder"])
def test_a_store_that_is_gone_in_mid_run_is_an_error_at_the_end(gone, tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    path = folder / "run.db"
    going = tiny(store=path)
    next(going)
    if gone == "folder":
        shutil.rmtree(folder)
    else:
        path.rename(folder / "other.db") if gone == "moved" else path.unlink()
        path.touch() if gone == "replaced" else None
    next(going)  # the numbers are not lost for those who are told them
    with pytest.raises(StoreError, match="deleted, moved or replaced"):
        next(going)


def test_what_was_found_is_printed_though_the_store_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "QUICK", TINY)
    path = tmp_path / "run.db"
    add = runs.Store.add

    def losing(self, records):
        add(self, records)
        path.unlink(missing_ok=True)

    monkeypatch.setattr(runs.Store, "add", losing)
    args = ["check", "--theorem", "F1", "--net", "vanilla", "--workers", "1", "--store", str(path)]
    result = CliRunner().invoke(cli.main, args)
    assert result.exit_code == 2 and "was deleted" in result.output and "F1: simulated/predicted" in result.output


INFINITE = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i"
BOMBS = {
    "an endless view": [
        "DROP TABLE results",
        f"CREATE VIEW results AS {INFINITE} AS key, 0 AS position, 0 AS place, 0 AS control, '' AS theorem, '' AS net, '' AS activation, "
        "'' AS p, '' AS q, '' AS verdict, '' AS claim, '' AS report, '' AS sha256 FROM n",
    ],
    "an endless run": ["DROP TABLE run", f"CREATE VIEW run AS {INFINITE} AS name, '' AS value FROM n"],
    "a trigger": ["CREATE TRIGGER t AFTER INSERT ON results BEGIN DELETE FROM run; END"],
    "another table": ["CREATE TABLE more (work TEXT)"],
    "a column that is computed": ["ALTER TABLE results ADD COLUMN x TEXT AS (hex(zeroblob(100000000)))"],
    "a large value": ["UPDATE run SET value = zeroblob(400000000) WHERE name = 'command'"],
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_store_that_means_harm_is_refused_at_once(name, fresh, tmp_path):
    path = tmp_path / "run.db"
    shutil.copy(fresh, path)
    with closing(sqlite3.connect(path)) as db, db:
        for change in BOMBS[name]:
            db.execute(change)
    began = time.monotonic()
    result = CliRunner().invoke(cli.main, ["report", str(path), "--markdown"])
    assert result.exit_code == 2 and "cannot be read as a results file" in result.output
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a": 1e400}', '{"a": -1e999}', "[NaN]", "[Infinity]", f"[{'9' * 4000}]", f"[{'9' * 10_000}]"],
)
def test_json_that_means_harm_is_refused(text, tmp_path):
    with pytest.raises(ValueError, match=r"finite|deep"):
        loads(text)
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(StoreError, match="holds no results"):
        read_document(path)


def test_what_is_no_file_is_no_store(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero"), tmp_path / "loop"):
        with pytest.raises(StoreError):
            read(path)
    with pytest.raises(StoreError, match="MiB and more"):
        read_document("/dev/zero")


def test_a_key_does_not_hang_on_git(monkeypatch):
    (first, *_), (second, *_) = (
        [runs._jobs(suite.cases(["F1"], ["vanilla"], profile=TINY), 0, {"data": "digits"})[0].keys({"digits": "0"})]
        for _ in range(2)
    )
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "_git", lambda *_: None)
        provenance.git_state.cache_clear()
        (job, *_) = runs._jobs(suite.cases(["F1"], ["vanilla"], profile=TINY), 0, {"data": "digits"})
        assert job.keys({"digits": "0"}) == first == second
    provenance.git_state.cache_clear()


def test_an_origin_says_what_changes_last_digits(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    found = provenance.provenance("float32", "cpu")["environment"]
    assert found["variables"]["MKL_CBWR"] == "COMPATIBLE"
    assert found["capability"] and json.dumps(found["blas"])
