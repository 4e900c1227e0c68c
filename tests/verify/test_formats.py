"""Results of other versions: told apart by their format, refused in a line that says what to do, and left
as they are."""

import hashlib
import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from click.testing import CliRunner

from advmf import __version__, cli
from advmf.errors import StoreError
from advmf.report.document import of_store
from advmf.report.document import read as read_document
from advmf.verify import suite
from advmf.verify.records import FORMAT
from advmf.verify.runs import run
from advmf.verify.store import COLUMNS, read

TINY = replace(suite.QUICK, scales={"F1": suite.Scale(L=2, d=16, K=2, widths=(8, 16), nets=(9, 9))})


def tiny(**options):
    """A run as 'advmf check --theorem F1 --net vanilla_growing' makes it."""
    options = {"nets": None, "data": None, "device": "cpu", "sampler": "auto", "memory": 2**32} | options
    return list(run(suite.cases(["F1"], ["vanilla_growing"], profile=TINY), **options))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A store and a JSON file of this version."""
    folder = tmp_path_factory.mktemp("fresh")
    tiny(store=folder / "results.db", command="advmf check --theorem F1")
    record = of_store(read(folder / "results.db")).to_dict()
    (folder / "results.json").write_text(json.dumps(record))
    return folder


def number(value):
    def change(db):
        db.execute(f"PRAGMA user_version = {value}")

    return change


def configured(change):
    """What a run says of itself, changed."""

    def make(db):
        run = dict(db.execute("SELECT name, value FROM run"))
        configuration = json.loads(run["configuration"])
        change(configuration)
        text = json.dumps(configuration)
        db.execute("UPDATE run SET value = ? WHERE name = 'configuration'", [text])
        db.execute("UPDATE run SET value = ? WHERE name = 'sha256'", [checksum(text, run["command"])])

    return make


def uncounted(configuration):
    for case in configuration["cases"]:
        del case["claims"]


def checksum(*values):
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def said(column, change):
    """A claim or a report, changed by somebody who knows of checksums."""

    def make(db):
        for key, position, text in db.execute(f"SELECT key, position, {column} FROM results").fetchall():
            value = json.loads(text)
            change(value)
            db.execute(f"UPDATE results SET {column} = ? WHERE key = ?", [json.dumps(value), key])
            (row,) = db.execute(f"SELECT {', '.join(COLUMNS)} FROM results WHERE key = ?", [key])
            (total,) = db.execute("SELECT count(*) FROM results WHERE position = ?", [position]).fetchone()
            db.execute("UPDATE results SET sha256 = ? WHERE key = ?", [checksum(*row, total), key])

    return make


def without(column):
    """A table as it was before a column was there."""

    def make(db):
        kept = [row[1] for row in db.execute("PRAGMA table_info(results)") if row[1] != column]
        db.execute(f"CREATE TABLE other AS SELECT {', '.join(kept)} FROM results")
        db.execute("DROP TABLE results")
        db.execute("ALTER TABLE other RENAME TO results")

    return make


def with_more(db):
    db.execute("ALTER TABLE results ADD COLUMN mood TEXT NOT NULL DEFAULT 'fine'")
    db.execute("CREATE TABLE moods (name TEXT)")


OLD, NEW, DAMAGED = "older", "newer", "of this format"
STORES = {
    "before claims were counted": (
        OLD,
        1,
        [number(1), configured(uncounted), said("claim", lambda c: c.pop("latex", 0))],
    ),
    "before there were activations": (OLD, 1, [number(1), without("activation"), configured(uncounted)]),
    "before a run said what it is": (OLD, 1, [number(1), lambda db: db.execute("DROP TABLE run")]),
    "before a run had a command": (
        OLD,
        1,
        [number(1), lambda db: db.execute("DELETE FROM run WHERE name = 'command'")],
    ),
    "the next": (NEW, FORMAT + 1, [number(FORMAT + 1), with_more]),
    "years ahead": (NEW, 99, [number(99), lambda db: db.execute("DROP TABLE results")]),
    "no count": (DAMAGED, FORMAT, [configured(uncounted)]),
    "no version": (DAMAGED, FORMAT, [configured(lambda c: c.pop("version"))]),
    "no list of cases": (DAMAGED, FORMAT, [configured(lambda c: c.update(cases=3))]),
    "no object": (DAMAGED, FORMAT, [lambda db: db.execute("UPDATE run SET value = '[]'")]),
    "no configuration": (DAMAGED, FORMAT, [lambda db: db.execute("DELETE FROM run")]),
    "no column": (DAMAGED, FORMAT, [without("activation")]),
    "no parts": (DAMAGED, FORMAT, [lambda db: db.execute("DROP TABLE parts")]),
    "no table": (DAMAGED, FORMAT, [lambda db: db.execute("DROP TABLE results")]),
    "no formula": (DAMAGED, FORMAT, [said("claim", lambda c: c.pop("latex", 0))]),
    "empty findings": (DAMAGED, FORMAT, [said("report", lambda r: r.update(findings=[]))]),
    "a word for a number": (DAMAGED, FORMAT, [said("report", lambda r: r["findings"][0].update(effect="x"))]),
    "no findings": (DAMAGED, FORMAT, [said("report", lambda r: r.pop("findings"))]),
    "no p-value": (DAMAGED, FORMAT, [said("report", lambda r: r["findings"][0].pop("p_value"))]),
    "a verdict of its own": (DAMAGED, FORMAT, [said("report", lambda r: r["findings"][0].update(verdict="FINE"))]),
}
ADVICE = {
    OLD: "run it again into another file, or read it with the version of advmf that wrote it",
    NEW: "read it with that version of advmf, or a newer one",
    DAMAGED: "restore it from a copy, or run it again into another file",
}


def expect(text, age, found, path):
    """Whether a message names the file, both formats, and what to do."""
    text = " ".join(text.split())
    assert str(path) in text and ADVICE[age] in text and "It is left as it is" in text
    if age is DAMAGED:
        assert f"cannot be read as a results file of format {FORMAT}: " in text
    else:
        assert f"has format {found} of advmf's results" in text
        assert f"this version, {__version__}, reads format {FORMAT} alone" in text


@pytest.mark.parametrize("name", STORES)
def test_a_store_of_another_format_is_refused_in_a_line(name, fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "QUICK", TINY)
    age, found, changes = STORES[name]
    path = tmp_path / "results.db"
    shutil.copy(fresh / "results.db", path)
    with closing(sqlite3.connect(path)) as db, db:
        for change in changes:
            change(db)
    before = path.read_bytes()
    for act in (read, read_document, lambda path: tiny(store=path), lambda path: tiny(store=path, resume=True)):
        with pytest.raises(StoreError) as refused:
            act(path)
        expect(str(refused.value), age, found, path)
    again = ["--theorem", "F1", "--net", "vanilla_growing", "--workers", "1", "--store", str(path), "--resume"]
    for words in (["report", str(path), "--markdown"], ["check", *again]):
        result = CliRunner().invoke(cli.main, words)
        assert result.exit_code == 2 and isinstance(result.exception, SystemExit)
        expect(result.output, age, found, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["results.db"]


def test_an_older_store_says_who_wrote_it_and_by_what_command(fresh, tmp_path):
    path = tmp_path / "results.db"
    shutil.copy(fresh / "results.db", path)
    with closing(sqlite3.connect(path)) as db, db:
        number(1)(db)
        configured(lambda c: c.update(version="0.0.7+0123456789ab"))(db)
    with pytest.raises(
        StoreError, match=r"written by advmf 0\.0\.7\+0123456789ab.*that run was: advmf check --theorem F1"
    ):
        read(path)


def of_format(value):
    def change(record):
        record["format"] = value

    return change


JSONS = {
    "before formats had numbers": (OLD, 1, lambda record: record.pop("format")),
    "before there were statements": (OLD, 1, lambda record: record.update(format=1, results=[{"theorem": "T2"}])),
    "the next": (NEW, FORMAT + 1, of_format(FORMAT + 1)),
}


@pytest.mark.parametrize("name", JSONS)
def test_json_of_another_format_is_refused_in_a_line(name, fresh, tmp_path):
    age, found, change = JSONS[name]
    path = tmp_path / "results.json"
    record = json.loads((fresh / "results.json").read_text())
    change(record)
    path.write_text(json.dumps(record))
    before = path.read_bytes()
    with pytest.raises(StoreError) as refused:
        read_document(path)
    expect(str(refused.value), age, found, path)
    result = CliRunner().invoke(cli.main, ["report", str(path), "--markdown"])
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "change", [of_format("two"), of_format(None), lambda record: record["summary"].pop("complete")]
)
def test_json_of_no_format_is_no_results_file(change, fresh, tmp_path):
    path = tmp_path / "results.json"
    record = json.loads((fresh / "results.json").read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(StoreError, match="holds no results of advmf"):
        read_document(path)
