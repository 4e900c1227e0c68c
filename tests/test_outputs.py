"""Files that are written: links, modes, pipes, devices, and what cannot be written, told before the work."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from advmf.errors import OutputError
from advmf.experiments import figures
from advmf.outputs import Output, apart


def test_a_file_is_replaced_at_once_and_nothing_else_is_touched(tmp_path):
    path, neighbour = tmp_path / "a.json", tmp_path / "a.json.part"
    neighbour.write_text("a user's own")
    Output(path).write("first")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    with path.open() as reader:
        Output(path).write("second ω")
        assert reader.read() == "first"  # who reads meanwhile reads one whole state
    assert path.read_bytes() == "second ω".encode()
    assert neighbour.read_text() == "a user's own"
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.json.part"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444 | 0o200])
def test_modes_are_kept(mode, tmp_path):
    path = tmp_path / "a.json"
    path.touch()
    path.chmod(mode)
    Output(path).write("new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", mode)


@pytest.mark.parametrize("there", [True, False])
def test_links_are_followed(there, tmp_path):
    (tmp_path / "real").mkdir()
    real, link, second = tmp_path / "real" / "a.json", tmp_path / "link.json", tmp_path / "second.json"
    if there:
        real.write_text("old")
    link.symlink_to("real/a.json")
    second.symlink_to("link.json")
    Output(second).write("new")
    assert real.read_text() == "new" and link.is_symlink() and second.is_symlink() and not real.is_symlink()
    assert os.listdir(tmp_path / "real") == ["a.json"]


def test_a_file_with_two_names_keeps_both(tmp_path):
    path, other = tmp_path / "a.json", tmp_path / "b.json"
    path.write_text("old")
    other.hardlink_to(path)
    Output(path).write("new")
    assert other.read_text() == "new" and other.samefile(path)


def test_a_pipe_and_a_device_are_written_to_and_stay(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    output, read = Output(fifo), []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    output.write("through")
    reader.join()
    assert read == ["through"] and stat.S_ISFIFO(fifo.stat().st_mode) and not output.replaced
    Output("/dev/null").write("away")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_what_fails_half_way_leaves_the_old_content(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(TypeError), Output(path).open() as file:
        file.writelines([b"half", "no bytes"])
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


def loop(folder):
    (folder / "x").symlink_to("x")
    return folder / "x"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder, "is a folder"),
        (lambda folder: folder / "no" / "a.json", "There is no folder"),
        (lambda folder: folder / ("a" * 300), "File name too long"),
        (loop, "symbolic links"),
        (lambda folder: "nul\0.json", "null byte"),
        (lambda folder: "/proc/a.json", "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_told_when_the_output_is_made(make, message, tmp_path):
    path = make(tmp_path)
    before = os.listdir(tmp_path)
    with pytest.raises(OutputError, match=message):
        Output(path)
    assert os.listdir(tmp_path) == before


def test_permissions(folder_of_a_user):
    folder = folder_of_a_user
    path = folder / "a.json"
    path.write_text("old")
    path.chmod(0o400)
    with pytest.raises(OutputError, match="write-protected"):
        Output(path)
    path.chmod(0o600)
    folder.chmod(0o500)
    try:
        Output(path).write("in place")
        with pytest.raises(OutputError, match="cannot be written"):
            Output(folder / "b.json")
    finally:
        folder.chmod(0o700)
    assert path.read_text() == "in place"


def test_a_full_device_is_an_error_of_the_package():
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full, the device that is always full")
    with pytest.raises(OutputError, match="No space left"):
        Output("/dev/full").write("more")


def test_standard_output_by_any_name_is_one(tmp_path):
    program = (
        "import sys\nfrom advmf.outputs import Output, apart\nprint('before')\n"
        "for name in sys.argv[1:]: Output(name).write('ω ' + name + '\\n')\nprint('after')"
    )
    names = ["-", "/dev/stdout", "/proc/self/fd/1"] if os.path.isdir("/proc") else ["-"]
    wanted = "".join(["before\n", *(f"ω {name}\n" for name in names), "after\n"]).encode()
    command = [sys.executable, "-c", program, *names]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    assert subprocess.run(command, capture_output=True, env=environment, cwd=tmp_path).stdout == wanted
    with (tmp_path / "out").open("wb") as file:
        subprocess.run(command, stdout=file, env=environment, cwd=tmp_path, check=True)
    assert (tmp_path / "out").read_bytes() == wanted
    assert os.listdir(tmp_path) == ["out"]


def test_one_file_is_not_given_twice(tmp_path):
    path, link = tmp_path / "a.json", tmp_path / "link"
    link.symlink_to("a.json")
    with pytest.raises(OutputError, match="two outputs"):
        apart([Output(path), Output(link)])
    with pytest.raises(OutputError, match="two outputs"):
        apart([Output("-"), Output("-")])
    with pytest.raises(OutputError, match="also what is read"):
        apart([Output(link)], [path])
    apart([Output(path), Output(tmp_path / "b.json"), Output("/dev/null"), Output("/dev/null")], [tmp_path / "c"])


def test_figures_are_written_so(tmp_path):
    path, link = tmp_path / "a.png", tmp_path / "link.png"
    path.touch(mode=0o600)
    link.symlink_to("a.png")
    figures.lines((10, 1000), {"a": ([1.0, 2.0], [0.1, 0.1])}, link, "$N$", "value")
    assert path.read_bytes().startswith(b"\x89PNG") and link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
