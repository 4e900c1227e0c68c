"""The explorer in headless Chromium: its formulas against the kernels of NumPy, its state, keys, sizes and colours."""

import json
import re

import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.emit.formats.javascript import runtime
from advmf.functions import Flow, NormalMean, Recursion, SpectralNorm, Supremum
from advmf.report.explorer import NETS, PAIRS, PHIS, explorer
from advmf.report.explorer_data import Data

pytestmark = pytest.mark.browser

POINTS = 1000
AGREE = 1e-12


def points(names, depth, small, count=POINTS, seed=0):
    """Random values of symbols over many decades, L up to a depth. Matrices are small where a value takes long."""
    rng = np.random.default_rng(seed)
    ranges = {
        "L": (1, depth), "N": (16, 1e6), "d": (1, 100 if small else 4000), "K": (1, 8 if small else 60), "sigma_w": (0.2, 3),
        "sigma_b": (0.01, 2), "eps": (1e-4, 10), "t": (1e-2, 1e3), "m": (0.05, 4), "M": (1.05, 1e6), "x_sq": (0.1, 10),
        "beta": (0.05, 100),
    }  # fmt: skip
    found = {}
    for name in names:
        if name in ("p", "q"):
            found[name] = rng.choice([1.0, 1.5, 2.0, 5.0, np.inf], count)
            continue
        low, high = np.log(ranges[name])
        value = np.exp(rng.uniform(low, high, count))
        found[name] = np.floor(value) if name in ("L", "d", "K", "N") else value
    return found


@pytest.fixture(scope="module")
def collected():
    data = Data()
    for net in NETS:
        for phi in ("leaky_relu", "erf"):
            data.preset(net, phi)
    for net, phi in (("vanilla", "elu"), ("residual", "tanh"), ("pre_norm", "silu")):  # means over Gaussians
        data.preset(net, phi)
    for p, q in (*PAIRS, ("3", "2"), ("3/2", "4")):
        data.pair(p, q)
    return data


@pytest.fixture(scope="module")
def read(browser, collected):
    """What the browser computes by a formula of the page, or its logarithm, from columns of arguments."""
    browser.open("about:blank")
    formulas = ",\n".join(collected.formulas)
    browser.run(
        f"window.read = (() => {{ {runtime()}\n{collected.script.helpers()}\nconst FORMULAS = [{formulas}];\n"
        "return (number, columns, log) => columns[0].map((_, i) => { const f = FORMULAS[number];"
        "const given = Object.fromEntries(f.names.map((n, j) => [n, columns[j][i]]));"
        "return String(log ? f.log(given) : f(given)); }); })(); 0"
    )

    def values(place, columns, log=False):
        text = []
        for i in range(0, len(columns[0]), 100):  # so that no call takes long
            part = json.dumps([c[i : i + 100].tolist() for c in columns])
            text += json.loads(browser.run(f"JSON.stringify(read({place}, {part}, {json.dumps(log)}))"))
        return np.array([float(x.replace("Infinity", "inf")) for x in text])

    return values


def departures(expr, place, read):
    """The departure of the browser from NumPy at each point, and where a float holds the value, and where it does not.

    It is relative to the value; where no float holds the value, it is that of the logarithm. Of a sum in which digits
    cancel, the terms are what either computes to its last digits, and so it is relative to their size.
    """
    kernel = mf.kernel(expr)
    depth = 3 if expr.has(NormalMean) else 20 if expr.has(Supremum) else 300 if expr.has(Recursion, Flow) else 100_000
    at = points(kernel.arguments, depth, expr.has(SpectralNorm))
    columns = [at[name] for name in kernel.arguments]
    with np.errstate(all="ignore"):
        value, own = kernel(**at), read(place, columns)
        terms = [mf.kernel(term) for term in expr.args] if expr.is_Add else []
        size = sum(abs(term(**{name: at[name] for name in term.arguments})) for term in terms) if terms else abs(value)
        held = np.isfinite(value) & ((abs(value) > 1e-300) | ((value == 0) & (size > 1e-300)))
        off = abs(own - value) / size
        beyond = ~held & ~(np.isnan(own) & np.isnan(value))
        log, own_log = np.full((2, POINTS), np.nan)
        if beyond.any():
            log[beyond] = kernel.log(**{name: column[beyond] for name, column in at.items()})
            own_log[beyond] = read(place, [column[beyond] for column in columns], log=True)
        off[beyond] = (abs(own_log - log) / np.maximum(1.0, abs(log)))[beyond]
    same = (own == value) & (held | (own_log == log) | (np.isnan(own_log) & np.isnan(log)))
    same |= np.isnan(own) & np.isnan(value)
    off = np.where(same, 0.0, np.where(np.isnan(off), np.inf, off))
    return off, held & (value != 0), ~held & np.isfinite(log)


def compiled(collected):
    return {e: found["f"] for e, found in collected._compiled.items() if "f" in found and e.free_symbols}


@pytest.fixture(scope="module")
def agreement(read, collected):
    """The departures of each formula of the page."""
    return {expr: departures(expr, place, read) for expr, place in compiled(collected).items()}


def test_every_formula_agrees_with_numpy(agreement):
    """1,000 points each, to 1e-12, beyond the range of floats too. Each formula has a value at 40 of them at least."""
    bad, few, beyond = {}, {}, {}
    for expr, (off, held, outside) in agreement.items():
        name = str(expr)[:200]
        print(f"{off.max():.1e} {held.sum():5} {outside.sum():5} {name}")
        if off.max() > AGREE:
            bad[name] = float(off.max())
        if (held | outside).sum() < 40:
            few[name] = int((held | outside).sum())
        beyond[name] = int(outside.sum())
    assert not bad and not few, (bad, few)
    assert len(beyond) > 80 and sum(n > 40 for n in beyond.values()) > 10, beyond


def test_a_formula_that_is_wrong_is_seen(read, collected, agreement):
    """The control of the comparison: 3e-12 more in one factor, of a closed form and of a differential equation; in the
    logarithm beyond the range of floats."""
    found = compiled(collected)
    wrong = sp.Float(1 + 3e-12, 40)
    closed = next(e for e in found if e.is_Mul and not e.has(Flow, Recursion, Supremum))
    flow = next(e for e in found if isinstance(e, Flow))
    for expr in (closed, flow):
        off, held, _ = departures(wrong * expr, found[expr], read)
        assert (off[held] > AGREE).all() and held.sum() > 40
    deep = next(e for e in found if agreement[e][2].sum() > 40)
    off, _, outside = departures(deep ** sp.Float(1 + 3e-12, 40), found[deep], read)
    assert (off[outside] > AGREE).all()


@pytest.fixture(scope="module")
def page(tmp_path_factory, files):
    path = tmp_path_factory.mktemp("page") / "explorer.html"
    path.write_text(explorer(results=files / "results.json", progress=False))
    return path


def opened(browser, page, state=""):
    browser.open(f"{page.as_uri()}{state}")
    browser.until("document.body.dataset.busy === 'false'")


def test_the_whole_page_is_small_loads_nothing_and_has_no_complaints(browser, page):
    assert page.stat().st_size <= 1_000_000
    for net in NETS:
        for phi in PHIS:
            opened(browser, page, f"#net={net}&phi={phi}&p=inf&q=1")
            assert [url for url in browser.requests if not url.startswith(("data:", "file:", "about:"))] == []
            assert browser.complaints == []
            numbers = browser.run("[...document.querySelectorAll('output')].map((o) => o.textContent)")
            assert len(numbers) >= 5 and not [n for n in numbers if "NaN" in n]
    browser.run("new Image().src = 'http://evil.example/x.png'")
    browser.until("true", lambda: any("Content Security Policy" in line for line in browser.complaints))  # the control


def test_the_first_number_is_that_of_the_kernel(browser, page):
    opened(browser, page, "#net=residual&phi=relu&p=inf&q=2&L=12&d=300&K=7&sigma_w=1.1&eps=0.25")
    value = mf.kernel(mf.loss_bound(mf.residual(phi="relu"), "inf", 2))(L=12, d=300, K=7, sigma_w=1.1, eps=0.25)
    assert browser.run("document.querySelector('#headline output').textContent") == f"{value:.6g}"
    opened(browser, page, "#net=pre_norm&phi=relu&p=inf&q=2&L=12&d=300&K=7&sigma_w=1.1&eps=0.25&sigma_b=0.5")
    at = {"L": 12, "d": 300, "K": 7, "sigma_w": 1.1, "eps": 0.25, "sigma_b": 0.5, "x_sq": 1.0}
    value = mf.kernel(mf.loss_bound(mf.pre_norm(phi="relu"), "inf", 2))(**at)
    assert browser.run("document.querySelector('#headline output').textContent") == f"{value:.6g}"
    opened(browser, page, "#net=residual&phi=relu&p=2&q=2&L=100000&sigma_w=2")
    log = mf.kernel(mf.loss_bound(mf.residual(phi="relu"), 2, 2)).log(L=100_000, d=784, K=10, sigma_w=2, eps=0.1)
    shown = browser.run("document.querySelector('#headline output').textContent")
    power = int(re.search("10(.*)", shown)[1].translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")))
    assert power == int(log / np.log(10))


def test_the_address_holds_the_state(browser, page):
    state = {"net": "residual", "phi": "leaky_relu", "p": "1", "q": "inf", "route": "leading", "L": "21", "eps": "0.3"}
    opened(browser, page, "#" + "&".join(f"{name}={value}" for name, value in state.items()))
    fields = "['net', 'phi', 'p', 'q'].map((name) => document.getElementById(name).value)"
    assert browser.run(fields) == ["residual", "leaky_relu", "1", "inf"]
    assert browser.run("document.getElementById('field-L').value") == "21"
    assert browser.run("document.querySelector('#routes input:checked').value") == "leading"
    browser.run("{ const f = document.getElementById('field-K'); f.value = 33; f.dispatchEvent(new Event('input')); }")
    browser.until("location.hash.includes('K=33') && document.body.dataset.busy === 'false'")
    address = browser.run("location.href")
    before = browser.run("document.querySelector('#headline output').textContent")
    opened(browser, page, address.removeprefix(page.as_uri()))
    assert browser.run("document.querySelector('#headline output').textContent") == before
    opened(browser, page, "#net=resnet&L=-1&eps=x&p=17&axes=no")
    assert browser.run(fields)[0] == NETS[0] and browser.complaints == []


def test_keys_move_a_slider_and_a_screen_reader_is_told(browser, page):
    opened(browser, page, "#net=vanilla&phi=relu")
    browser.run("document.getElementById('slider-eps').focus()")
    before = browser.run(
        "[document.getElementById('field-eps').value, document.querySelector('#headline output').textContent]"
    )
    for _ in range(5):
        browser.press("ArrowRight", 39)
    browser.until("document.body.dataset.busy === 'false'")
    after = browser.run(
        "[document.getElementById('field-eps').value, document.querySelector('#headline output').textContent]"
    )
    assert float(after[0]) > float(before[0]) and float(after[1]) > float(before[1])
    browser.until(f"document.getElementById('said').textContent === 'T2: {after[1]}'")  # after what was said at first
    assert browser.run("document.getElementById('slider-eps').getAttribute('aria-valuetext')")
    stops = []
    browser.run("document.body.focus()")
    for _ in range(40):
        browser.press("Tab", 9)
        stops.append(browser.run("document.activeElement.id || document.activeElement.textContent"))
    assert {"phi", "p", "q", "slider-eps", "field-eps", "reset", "phase-axes"} & set(stops) >= {
        "reset"
    } and "Copy LaTeX" in stops


def test_what_is_copied_states_what_is_shown(browser, page):
    opened(browser, page, "#net=residual&phi=relu&p=inf&q=2&route=leading&L=4&d=50&K=5&sigma_w=1.2&eps=0.2")
    click = "[...document.querySelectorAll('#headline button')].find((b) => b.textContent === 'Copy {}').click()"
    browser.run(click.format("Python"))
    browser.until("document.getElementById('copied').value.includes('mf.kernel')")
    space = {}
    source = browser.run("document.getElementById('copied').value").replace("print(mf.kernel", "value = (mf.kernel")
    exec(source, space)
    assert browser.run("document.querySelector('#headline output').textContent") == f"{space['value']:.6g}"
    browser.run(click.format("LaTeX"))
    assert r"\beta_{\infty,2} = " in browser.run("document.getElementById('copied').value")


def test_a_verdict_sets_the_sliders(browser, page):
    opened(browser, page, "#net=residual&phi=relu&p=2&q=2")
    rows = browser.run("[...document.querySelectorAll('#verdicts tr')].map((row) => row.textContent)")
    assert any("T2" in row for row in rows) and any("F1" in row for row in rows)
    browser.run("document.querySelector('#verdicts button').click()")
    assert browser.run("document.getElementById('field-L').value") == "2"


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False), (1280, True)])
def test_it_fits_a_phone_and_the_dark(browser, page, width, dark):
    browser.size(width, 800)
    browser.dark(dark)
    for state in ("#net=vanilla&phi=relu&p=2&q=2", "#net=pre_norm&phi=gelu&p=inf&q=inf"):
        opened(browser, page, state)
        browser.run("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        across, room = browser.run("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert across <= room <= width
        cut = browser.run(
            "[...document.querySelectorAll('.chart text')].filter((t) => t.getBoundingClientRect().width).filter((t) => {"
            "const own = t.getBoundingClientRect(), svg = t.closest('svg').getBoundingClientRect();"
            "return own.left < svg.left - 1 || own.right > svg.right + 1; }).map((t) => t.textContent)"
        )
        assert cut == []
        ground = browser.run("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")
