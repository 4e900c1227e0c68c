"""``advmf audit`` and its page."""

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import advmf as mf
from advmf.auditing.page import html
from advmf.cli import main

MODEL = """
import torch
from torch import nn

def factory():
    layers = [nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 4)]
    return nn.Sequential(nn.Flatten(), *layers)

def fault():
    module = factory()
    with torch.no_grad():
        module[3].weight.mul_(1.3)
    return module

def broken():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3))

def failing():
    raise KeyError("gone")

trained = factory()
number = 3
"""
ONE = ["--eps", "0.1", "--twins", "8", "--inputs", "2"]
FEW = ["--initialisations", "4", *ONE]


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)


def advmf(*words):
    return CliRunner().invoke(main, ["audit", *words])


def test_a_factory_that_stands_and_one_that_departs(model):
    found = advmf("model.py:factory", *FEW, "--json", "a.json", "-o", "a.html", "--plot", "a.png", "--p", "inf")
    assert found.exit_code == 0, found.output
    assert "Sequential, 4 initialisations: stands" in found.output and "attack/bound" in found.output
    record = json.loads(Path("a.json").read_text())
    assert record["verdict"] == "stands" and record["p"] == "inf" and record["eps"] == 0.1
    page = Path("a.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "stands" in page and "<script" not in page and page.count("<svg") == 2
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    found = advmf("model.py:fault", *FEW)
    assert found.exit_code == 1
    assert "departs" in found.output and "sigma_w_sq at linear_1 (in 3, a Linear)" in " ".join(found.output.split())


def test_a_module_as_it_is_has_no_verdict(model):
    for words in (("model.py:trained",), ("model.py:factory", "--single")):
        found = advmf(*words, *ONE, "--json", "-")
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["verdict"] == "measured"


def test_one_module_of_a_function_is_that_of_the_seed(model):
    def weights(seed):
        found = advmf("model.py:factory", "--single", *ONE, "--seed", seed, "--json", "-")
        return [f["value"] for f in json.loads(found.stdout)["findings"] if f["quantity"] == "sigma_w_sq"]

    assert weights("3") == weights("3") != weights("4")


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["model.py"], "FILE.py:NAME"),
        (["model.pt2:factory"], "Saved models are not loaded"),
        (["model.py:no"], "defines no no"),
        (["other.py:factory"], "There is no file other.py"),
        (["model.py:number"], "nn.Module"),
        (["model.py:broken"], "max_pool2d (in 1, a MaxPool2d)"),
        (["model.py:factory", "--p", "0.5"], "p must be"),
        (["model.py:factory", "-o", "a.txt"], "must end in .html"),
        (["model.py:factory", "--plot", "a.txt"], "must end in"),
        (["model.py:factory", "--data", "nowhere"], "nowhere"),
        (["model.py:factory", "--alpha", "2"], "alpha"),
        (["model.py:factory", "--x-sq", "-1"], "x_sq"),
        (["model.py:failing", "--single"], "The factory failed: KeyError"),
        (["model.py:number", "--single"], "nn.Module"),
        (["model.py:trained"], "--initialisations has no effect here: trained is audited as it is"),
        (["model.py:factory", "--eps", "-1"], "eps must be positive"),
        (["model.py:factory", "--inputs", "0"], "--inputs"),
        (["model.py:factory", "--size", "two"], "give its file with --plot"),
        (["model.py:factory", "--plot", "a.png", "--size", "5000"], "from 40 to 500"),
        (["model.py:factory", "--csv", "no/a.csv"], "There is no folder 'no'"),
        (["model.py:factory", "--json", "model.py"], "another file"),
    ],
)
def test_wrong_calls_end_in_a_line(model, words, match, monkeypatch):
    monkeypatch.setattr("advmf.auditing.audit.measure", lambda *_: pytest.fail("work had started"))
    found = advmf(*FEW, *words)
    assert found.exit_code == 2 and match in " ".join(found.output.split()), found.output
    assert "Traceback" not in found.output


def test_a_file_that_does_not_run_is_named_with_its_line(model):
    Path("wrong.py").write_text("x = 1\nraise KeyError('gone')\n")
    found = advmf("wrong.py:factory", *FEW)
    assert found.exit_code == 2 and "wrong.py, line 2" in found.output


def test_names_from_the_module_are_escaped_in_the_page(model):
    scope = {}
    exec(MODEL, scope)
    found = mf.audit(scope["factory"], mf.simulate.load("digits"), eps=0.1, initialisations=2, twins=4, inputs=1)
    page = html(dataclasses.replace(found, name="<script>alert(1)</script>"))
    assert "<script" not in page and "&lt;script" in page
