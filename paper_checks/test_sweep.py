"""Every shipped claim away from the suite's point: L, sigma_w, d and K over two decades each, one at a time about a
base point.

Run with ``pytest -m sweep paper_checks/test_sweep.py``. ``python paper_checks/test_sweep.py [FILE] [MINUTES]`` goes on
with what FILE (sweep.json) has, stops after MINUTES, and prints the table of docs/sweep.md. The networks are few and
narrow: a departure of 30 % (of fourth moments and coefficients of 1/N: 100 %) has to be seen for a verdict that is not
UNDERPOWERED.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import advmf as mf
from advmf.errors import AdvmfError
from advmf.theorems.selection import DEFAULT_ACTIVATIONS, DEFAULT_NETS, GROWING
from advmf.theory.spike import carries_mean
from advmf.verify.statistics import Design
from advmf.verify.suite import QUICK, Scale, cases
from advmf.verify.verdict import Verdict

PAIRS = (("1", "inf"), ("2", "2"), ("inf", "1"))
SCALES = {
    "T1": Scale(4, 64, 10, (32, 64, 128, 256), (1600, 1600, 1100, 800)),
    "T2": Scale(5, 64, 10, (64, 128, 256, 512), (64, 64, 48, 32), directions=1, steps=4),
    "T3": Scale(2, 64, 10, (64, 128, 256, 512), (160, 160, 120, 80), directions=1, steps=2, at={"sigma_b": 0.0, "eps": 0.02}),
    "T5": Scale(2, 64, 10, (32, 64, 128, 256), (1500, 1500, 1200, 900), at={"sigma_b": 0.0}),
    "F1": Scale(4, 64, 2, (32, 64, 128), (1500, 1500, 1000)),
    "F2": Scale(2, 64, 10, (128, 256, 512, 1024), (600, 600, 400, 200)),
}  # fmt: skip
PROFILE = replace(QUICK, name="sweep", scales=SCALES)
DESIGN = Design(alpha=1e-5, effect=0.3, effect_fourth=1.0)
AXES = {"L": (1, 3, 10, 30, 100), "sigma_w": (0.1, 0.3, 3, 10), "d": (8, 24, 240, 800), "K": (2, 6, 60, 200)}
"""Values; of sigma_w in units of the base point's."""
POINTS = (("", 0), *((axis, value) for axis, values in AXES.items() for value in values))
SUBJECTS = [
    (theorem, net, act) for act in DEFAULT_ACTIVATIONS for theorem in SCALES for net in DEFAULT_NETS if net != GROWING
]
SIGNS = {Verdict.SUPPORTED: "s", Verdict.NOT_REFUTED: "s", Verdict.UNDERPOWERED: "u", Verdict.REFUTED: "R"}

REFUTED: dict[str, str] = {}
"""Cells that are refuted, by what begins their labels (claim|net|activation|axis|value), and why; docs/sweep.md has
none now."""


def case_of(theorem, net, activation, axis, value):
    """The case of one point, or None where the theorem says nothing of the net."""
    try:
        # The growing vanilla net of the suite is the vanilla one at another sigma_w, which the sweep moves itself.
        (case,) = (c for c in cases([theorem], [net], [activation], PAIRS, PROFILE) if c.name == net)
    except AdvmfError:
        return None
    at = {axis: value * (case.at[axis] if axis == "sigma_w" else 1)} if axis else {}
    claims = list(case.claims)
    if theorem == "T3":
        claims = [c for c in claims if (str(c.p), str(c.q)) == ("oo", "1")]
        claims += [] if carries_mean(case.net) else [mf.loss_decay(case.net, "inf", 1)]
    return replace(case, claims=tuple(claims), at={**case.at, **at})


def swept(theorem, net, activation, axis, value):
    """The verdict on each claim at one point: ``{claim: [sign, departure, reason]}``."""
    case = case_of(theorem, net, activation, axis, value)
    if case is None:
        return {}
    found = {}
    # Where L or sigma_w is large, fourth moments leave the range of float32.
    options = {"seed": 0, "design": DESIGN, "dtype": "float32" if theorem == "T3" else "float64"}
    if theorem == "F2":  # an expansion in L sqrt(K d)/N, which is to be as small as at the base point
        base, at = SCALES["F2"], case.at
        wider = max(1.0, at["L"] / base.L * (at["K"] * at["d"] / (base.K * base.d)) ** 0.5)
        options["widths"] = tuple(round(N * wider) for N in base.widths)
    for claim, report in zip(case.claims, case.check([], options)):
        worst = min(report.findings, key=lambda f: list(SIGNS).index(f.verdict) * -1)
        name = claim.name + (f" {report.p},{report.q}" if theorem == "T2" else "")
        found[name] = [SIGNS[report.verdict], worst.departure, f"{worst.label}: {worst.reason}" if worst.reason else ""]
    return found


def table(cells):
    """One row per claim, one column per point: s for supported or standing, u for underpowered, R with the departure in
    per cent."""
    rows = {}
    for key, claims in cells.items():
        _, net, activation, axis, value = key.split("|")
        for name, (sign, departure, _) in claims.items():
            cell = f"R {100 * departure:+.0f}" if sign == "R" else sign
            rows.setdefault((name, net, activation), {})[axis, float(value)] = cell
    named = (f"{axis.replace('sigma_w', 'sigma_w ×')} {value:g}" if axis else "base" for axis, value in POINTS)
    head = ["claim", "net", "activation", *named]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for row, found in rows.items():
        lines.append("| " + " | ".join([*row, *(found.get((axis, float(value)), "") for axis, value in POINTS)]) + " |")
    return "\n".join(lines)


@pytest.mark.sweep
@pytest.mark.parametrize(("theorem", "net", "activation"), SUBJECTS, ids="-".join)
def test_nothing_is_refuted_but_what_is_known(theorem, net, activation):
    refuted = {}
    for axis, value in POINTS:
        for name, (sign, departure, reason) in swept(theorem, net, activation, axis, value).items():
            label = f"{name}|{net}|{activation}|{axis}|{value}"
            if sign == "R" and not any(label.startswith(known) for known in REFUTED):
                refuted[label] = f"{departure:+.1%}: {reason}"
    assert not refuted, refuted


def main(path="sweep.json", minutes="600"):
    """Sweep what is not in the file yet, from cheap to dear, and print the table."""
    file, until = Path(path), time.monotonic() + 60 * float(minutes)
    cells = json.loads(file.read_text()) if file.exists() else {}
    ends = {(axis, value) for axis, values in AXES.items() for value in (values[0], values[-1])}
    order = sorted(POINTS, key=lambda point: (point == ("L", 100), point not in {*ends, ("", 0), ("L", 10), ("L", 30)}))
    for activation in DEFAULT_ACTIVATIONS:
        for axis, value in order:
            for theorem, net, _ in (subject for subject in SUBJECTS if subject[2] == activation):
                key = f"{theorem}|{net}|{activation}|{axis}|{value}"
                if key in cells or time.monotonic() > until:
                    continue
                started = time.process_time()
                try:
                    cells[key] = swept(theorem, net, activation, axis, value)
                except AdvmfError as error:
                    cells[key] = {theorem: ["e", 0.0, str(error)]}
                print(key, f"{time.process_time() - started:.1f} s", cells[key], file=sys.stderr, flush=True)
                file.write_text(json.dumps(cells, indent=0))
    print(table(cells))


if __name__ == "__main__":
    main(*sys.argv[1:])
