"""Names that a user gives: every function and command that takes one ends in an error of the package."""

import ast
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

import advmf as mf
from advmf import cli
from advmf.cli.exits import Exit
from advmf.errors import AdvmfError, ArgumentError, DataError, OutputError, StoreError
from advmf.experiments import figures
from advmf.experiments.training_curve import training_curve
from advmf.inputs import files, reading, real, status
from advmf.outputs import Output, apart, folder
from advmf.report.document import read as read_document
from advmf.report.explorer import explorer
from advmf.report.results import read_results
from advmf.verify import own, store

NET = mf.vanilla(u=1, v=0)
AT = {"L": 2, "d": 64, "K": 3, "sigma_w": 2**0.5, "sigma_b": 0.0, "eps": 0.1}


def train(path):
    networks = mf.simulate.sample(NET, N=8, nets=2, **{name: AT[name] for name in AT if name != "eps"})
    images = mf.simulate.load("digits").scaled(1.0)
    options = {"loss": "adversarial", "eps": 0.1, "rate": 0.01, "steps": 1, "batch": 1}
    return mf.simulate.train(networks, images, checkpoint=path, progress=worked, **options)


def worked(*_):
    pytest.fail("the work has begun")


def checked(path):
    return mf.sweep(mf.norm_factor(2, 2), over={"d": [4, 5]}, at={"K": 3}, samples=100, store=path, progress=worked)


def opened(path):
    with store.opened(path, {"seed": 0, "version": "", "cases": []}):
        pass


READ = {
    "load": (mf.simulate.load, "", DataError),
    "load an npz file": (mf.simulate.load, ".npz", DataError),
    "load a compressed file": (mf.simulate.load, ".gz", DataError),
    "data of a check": (
        lambda path: mf.check(mf.loss_bound(NET, 2, 2), at=AT | {"eps": 0.1}, data=str(path), progress=worked), "", DataError,
    ),
    "read a store": (store.read, "", StoreError),
    "read a document": (read_document, "", StoreError),
    "read results": (read_results, "", DataError),
    "explorer": (lambda path: explorer(nets=["vanilla"], activations=["relu"], results=path, progress=worked), "", StoreError),
    "a file of one's own": (own.load, ".py", ArgumentError),
    "reading": (lambda path: reading(path, DataError).__enter__(), "", DataError),
}  # fmt: skip
"""Functions that read a file, the ending of its name, and their error."""
WRITTEN = {
    "output": (Output, "", OutputError),
    "figure": (figures.check_target, ".png", OutputError),
    "table": (mf.Reports([]).csv, "", OutputError),
    "store of a run": (opened, "", StoreError),
    "store of a sweep": (checked, "", StoreError),
}
"""Functions that write one."""
FOLDERS = {
    "a folder to write into": (folder, "", OutputError),
    "files": (lambda path: files(path, "*", DataError), "", DataError),
    "training": (train, "", DataError),
    "training curve": (
        lambda path: training_curve(NET, 2, 2, AT, N=8, nets=2, checkpoint=path, steps=1, progress=worked), "", DataError,
    ),
}  # fmt: skip
"""Functions that take a folder."""
ALL = READ | WRITTEN | FOLDERS


def long(place, ending):
    return place / ("é" * 200 + ending)


def null(place, ending):
    return place / f"a\0b{ending}"


def circle(place, ending):
    path = place / f"circle{ending}"
    path.symlink_to(path.name)
    return path


NAMES = [long, null, circle]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ALL)
def test_a_name_that_leads_nowhere(what, name, tmp_path):
    function, ending, error = ALL[what]
    path = name(tmp_path, ending)
    before = os.listdir(tmp_path)
    with pytest.raises((error, OutputError) if what in FOLDERS else error, match=r"cannot be|is no|There is no"):
        function(path)
    assert os.listdir(tmp_path) == before


@pytest.mark.parametrize("what", READ | WRITTEN)
def test_a_folder_in_the_place_of_a_file(what, tmp_path):
    function, ending, error = (READ | WRITTEN)[what]
    path = tmp_path / f"a{ending}"
    path.mkdir()
    with pytest.raises(error):
        function(path)


@pytest.mark.parametrize("what", ALL)
def test_a_file_in_the_place_of_a_folder(what, tmp_path):
    function, ending, error = ALL[what]
    (tmp_path / "a").write_text("")
    path = tmp_path / "a" if what in FOLDERS else tmp_path / "a" / f"b{ending}"
    with pytest.raises((error, OutputError)):
        function(path)
    assert (tmp_path / "a").read_text() == ""


@pytest.mark.parametrize("what", ALL)
def test_a_folder_that_may_not_be_entered(what, folder_of_a_user):
    function, ending, error = ALL[what]
    closed = folder_of_a_user / "closed"
    closed.mkdir()
    path = closed / f"a{ending}"
    closed.chmod(0o000)
    try:
        with pytest.raises((error, OutputError), match=r"Permission denied|cannot be"):
            function(path)
    finally:
        closed.chmod(0o700)
    assert not os.listdir(closed)


@pytest.mark.parametrize("what", READ)
def test_a_file_that_may_not_be_read(what, folder_of_a_user):
    function, ending, error = READ[what]
    path = folder_of_a_user / f"a{ending}"
    path.write_text("x")
    path.chmod(0o000)
    with pytest.raises(error, match="Permission denied"):
        function(path)


def test_a_training_run_is_refused_a_folder_without_permission(folder_of_a_user):
    """Before any work, and a run that is there is not read."""
    for mode in (0o500, 0o000):
        folder_of_a_user.chmod(mode)
        try:
            with pytest.raises((DataError, OutputError)):
                train(folder_of_a_user)
        finally:
            folder_of_a_user.chmod(0o700)


@pytest.mark.parametrize("length", range(240, 257))
def test_side_files_have_names_that_are_too_long(length, tmp_path):
    """A database has files beside it, with longer names."""
    path = tmp_path / ("a" * length)
    for function in (opened, store.read):
        try:
            function(path)
        except StoreError:
            assert function is store.read or length > 240
    assert len(os.listdir(tmp_path)) <= 1


@pytest.mark.parametrize("what", READ | WRITTEN)
def test_a_folder_that_was_deleted(what, tmp_path, monkeypatch):
    function, ending, error = (READ | WRITTEN)[what]
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(error):
        function(Path(f"a{ending}"))
    with pytest.raises(StoreError, match="cannot be reached"):
        real("a", StoreError)


def test_what_is_there_is_told_apart(tmp_path):
    (tmp_path / "a").write_text("text")
    (tmp_path / "link").symlink_to("a")
    assert status(tmp_path / "b", DataError) is None
    with pytest.raises(DataError, match="cannot be reached: Not a directory"):
        status(tmp_path / "a" / "b", DataError)
    assert status(tmp_path / "link", DataError).st_size == 4
    assert real(tmp_path / "link", DataError) == Path(os.path.realpath(tmp_path / "a"))
    assert files(tmp_path, "*", DataError) == [tmp_path / "a", tmp_path / "link"]
    assert files(tmp_path / "b", "*", DataError) == []
    with reading(tmp_path / "link", DataError) as file:
        assert file.read() == b"text"
    apart([Output(tmp_path / "a")], [tmp_path / "a\0b"])
    with pytest.raises(AdvmfError, match="its own"), reading(tmp_path / "a", DataError):
        raise OutputError("its own")


LINES = (
    "check {}.py", "check --theorem T6 --store {}", "check --theorem T6 --json {}", "check --theorem T1 --net vanilla --data {}",
    "report {}.db", "report run.json -o {}.html", "explore --store {} -o -", "explore -o {}.html", "latex --results {}", "latex T1 -o {}.tex",
    "audit {}.py:factory", "audit model.py:factory --data {}", "audit model.py:factory --json {}", "train --store {}", "train --plot {}.png",
    "phase --plot {}.png", "sweep --store {}", "mutate {}.py", "mutate --theorem T6 --json {}",
)  # fmt: skip
"""Command lines with a name to put in."""


@pytest.mark.parametrize("name", ["é" * 200, "file/a", "closed/a", "circle"])
@pytest.mark.parametrize("line", LINES)
def test_commands(line, name, folder_of_a_user, monkeypatch):
    monkeypatch.chdir(folder_of_a_user)
    Path("file").write_text("")
    for ending in ("", ".py", ".db", ".html", ".tex", ".png"):
        Path(f"circle{ending}").symlink_to(f"circle{ending}")
    Path("closed").mkdir(mode=0o000)
    result = CliRunner().invoke(cli.main, [word.format(name) for word in line.split()])
    assert result.exit_code == Exit.USAGE, result.output
    assert "Error: " in result.output and "Traceback" not in result.output


def test_the_name_of_a_new_file_is_not_too_long(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.main, ["new", "a" * 300])
    assert result.exit_code == Exit.USAGE and "File name too long" in result.output


def test_the_only_store_is_found_beside_files_that_may_not_be_read(folder_of_a_user, monkeypatch):
    monkeypatch.chdir(folder_of_a_user)
    Path("secret").write_text("x")
    Path("secret").chmod(0o000)
    Path("circle").symlink_to("circle")
    assert "this folder has none" in CliRunner().invoke(cli.main, ["report", "--markdown"]).output


# -- nothing else asks -------------------------------------------------------------------------------------------------

QUESTIONS = {
    "exists", "is_file", "is_dir", "isfile", "isdir", "stat", "lstat", "mkdir", "makedirs", "iterdir", "listdir", "glob", "rglob", "open",
    "read_text", "read_bytes",
}  # fmt: skip
EXEMPT = {
    "inputs.py": "asks for all",
    "outputs.py": "writes for all",
    "emit/engine/native.py": "its own cache; without one, NumPy does its work",
    "emit/engine/c_source.py": "a file of the package",
    "budget.py": "a file of the system",
    "verify/provenance.py": "files of the package and of the system",
    "theorems/scripted.py": "the folder of the package",
    "verify/pytest_plugin.py": "files that pytest has found",
}
"""Modules that ask about files of other kinds."""
CALLS = {
    "Output(self.file).open": "of outputs",
    "lock.open": "within the lock's own error",
    "lock.stat": "within the lock's own error",
    "open(path, 'a', encoding='utf-8')": "the job summary of a GitHub job, told if it cannot be written",
    "os.open(os.devnull": "of the system",
    "os.path.isfile(v)": "raises nothing",
    "archive.open": "a part of an open file",
    "gzip.open(file)": "an open file",
    "(files(": "of the package",
    "files(": "of the package",
}
"""The beginnings of calls that are no questions about a user's name, or are told by their own module."""


def questions(text):
    """What a module asks of the file system: the methods and functions of Path, os and os.path, and ``open``."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    asked = [call for call in calls if getattr(call.func, "attr", "") in QUESTIONS or ast.unparse(call.func) == "open"]
    return [text for text in map(ast.unparse, asked) if not text.startswith(tuple(CALLS))]


def test_one_module_asks():
    root = Path(mf.__file__).parent
    paths = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
    assert set(EXEMPT) <= set(paths)
    found = {name: questions(path.read_text()) for name, path in paths.items() if name not in EXEMPT}
    assert {name: asked for name, asked in found.items() if asked} == {}
    assert questions("Path(name).is_file()") and questions("open(name)") and questions("os.path.exists(name)")
