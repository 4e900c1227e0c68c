"""What is installed with the package, and what a source distribution carries."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(requirements):
    """The names of all distributions that some requirements bring along here."""
    found, waiting = set(), [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            needs = importlib.metadata.requires(requirement.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        if plain(requirement.name) not in found:
            found.add(plain(requirement.name))
            waiting += [(Requirement(text), each) for text in needs for each in ("", *requirement.extras)]
    return {
        name for name in found if not name.startswith(("nvidia-", "cuda-", "triton"))
    }  # of wheels for other devices


PINNED = {
    plain(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
}


@pytest.mark.parametrize("extra", ["", *PROJECT["project"]["optional-dependencies"]])
def test_all_that_is_installed_along_is_pinned(extra):
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = (
        PROJECT["project"]["dependencies"]
        if not extra
        else [text for text in extras[extra] if not text.startswith("advmf")]
    )
    assert closure(wanted) - PINNED == set()


def test_the_licence_of_each_is_told():
    told = set(re.findall(r"^\| ([\w-]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE))
    assert closure(PROJECT["project"]["dependencies"]) - told == set()


def test_a_source_distribution_has_what_the_readme_installs_by():
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert "constraints.txt" in included and all((ROOT / name).exists() for name in included)


@pytest.mark.parametrize("folder", ["paper_checks", "benchmarks"])
def test_what_is_run_by_hand_can_be_imported(folder):
    """No test runs these folders, so a file that pytest cannot import would stay unseen."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", "", folder]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    found = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-2000:]
