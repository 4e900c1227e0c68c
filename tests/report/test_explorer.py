"""The explorer's page: its data and markup here, what it does in headless Chromium by ``-m browser``."""

import base64
import gzip
import hashlib
import json
import re

import pytest
import sympy as sp
from click.testing import CliRunner

import advmf as mf
from advmf.cli import main
from advmf.errors import ArgumentError, StoreError
from advmf.report.explorer import MAIN, RANGES, explorer
from advmf.symbols import eps, sigma_w
from advmf.theorems import THEOREMS


def unpacked(page):
    packed = re.search(r'<script type="application/gzip" id="data">(.*?)</script>', page)[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


@pytest.fixture(scope="module")
def page():
    return explorer(nets=["vanilla", "residual"], activations=["relu"], progress=False)


@pytest.fixture(scope="module")
def data(page):
    return unpacked(page)


def test_nothing_but_its_own_script_and_style_is_allowed(page):
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)[1]
    assert policy.startswith("default-src 'none'; ") and "http" not in policy and "unsafe" not in policy
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    loaded = re.findall(r'(?:src|href)="(.*?)"', page)
    assert loaded and all(url.startswith(("#", "data:")) for url in loaded)


def test_its_python_states_the_same_claims(data):
    """The place of a claim in what a theorem states for numbers is that for all exponents together."""
    seen = 0
    for key, statements in data["statements"].items():
        net = getattr(mf, key.partition("|")[0])(phi="relu")
        for said in statements:
            claims = THEOREMS[said["theorem"]].stated(net, "2", "2", "chevet")
            claim = claims[said["index"]]
            assert (claim.name, str(claim.relation)) == (said["name"], said["relation"])
            seen += 1
    assert seen > 20
    assert {said["role"] for said in data["statements"]["residual|relu"]} >= {
        "bound",
        "variance",
        "half_life",
        "escape",
    }


def test_every_control_has_a_label(page, data):
    for name in ("net", "phi", "p", "q", "phase-axes", "copied", *(f"field-{name}" for name in data["ranges"])):
        assert f'for="{name}"' in page and f'id="{name}"' in page
    assert all(re.search(rf'<input [^>]*id="slider-{name}"[^>]*aria-label="', page) for name in data["ranges"])
    assert set(MAIN) <= set(data["ranges"]) <= set(RANGES)


def test_a_missing_function_is_named(data, page):
    """Every statement and route has a formula, or a name of what it lacks. The page lists the names, and says why."""
    rows = [row for group in (data["statements"], data["routes"]) for rows in group.values() for row in rows]
    missing = {row["missing"] for row in rows if row.get("missing")}
    told = re.search(r"Not available in the browser: (.*?)</p>", page)[1]
    assert "EstimatedNorm" in missing and all(name in told for name in missing) and "by convolution" in told
    assert all(("f" in row) != bool(row.get("missing")) for row in rows)
    assert max(row["f"] for row in rows if "f" in row) + 1 == page.count("formula([")


def test_claims_of_ones_own():
    width = sp.Symbol("width", positive=True)
    claim = mf.loss_bound(mf.residual(phi="relu"), 3, 2)
    own = mf.Claim(
        "mine",
        claim.lhs,
        claim.relation,
        eps * sigma_w * width,
        {},
        claim.regime,
        (),
        "here",
        claim.net,
        p=claim.p,
        q=claim.q,
    )
    page = explorer([claim, own], progress=False)
    data = unpacked(page)
    assert 'id="slider-width"' in page and "3|2" in data["routes"]
    assert "def mine(" in data["statements"]["residual|as declared"][1]["python"]


def test_bad_input():
    for wrong in ([], "T2", [1], mf.loss_bound(mf.vanilla(1, 0), 2, 2)):
        with pytest.raises(ArgumentError, match="list of claims"):
            explorer(wrong)
    for wrong in ({"nets": ["resnet"]}, {"activations": ["mish"]}):
        with pytest.raises(ArgumentError, match=r"resnet|mish"):
            explorer(**wrong)


def test_command_line(tmp_path, files):
    out, options = tmp_path / "explorer.html", ["--net", "vanilla", "--activation", "relu"]
    done = CliRunner().invoke(main, ["explore", "-o", str(out), "--store", str(files / "results.json"), *options])
    assert done.exit_code == 0, done.output
    assert {row["verdict"] for row in unpacked(out.read_text())["verdicts"]} & {"SUPPORTED", "UNDERPOWERED"}
    for line, message in (
        (["-o", str(tmp_path / "page.pdf")], "must end in .html"),
        (["-o", str(out), "--net", "resnet"], "resnet"),
        (["-o", str(out), "--store", str(tmp_path / "none.db")], "none.db"),
        ([], "--output"),
    ):
        done = CliRunner().invoke(main, ["explore", *line])
        assert done.exit_code == 2 and message in done.output, done.output


def test_results_of_another_format_are_refused(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(StoreError):
        explorer([mf.loss_bound(mf.vanilla(1, 0), 2, 2)], results=tmp_path / "x.json")
