"""Results as JUnit XML: one test case for each claim."""

from __future__ import annotations

from xml.etree.ElementTree import Element, indent, tostring

from advmf.report.document import Checked, Document, Failed
from advmf.report.tree import node


def junit(document: Document) -> str:
    """The XML for build servers: REFUTED is a failure, UNDERPOWERED is skipped, and both come with the numbers. A case
    that ended in an error is a test case of its own.

    Negative controls are no test cases; those that were not refuted are in ``system-out``.
    """
    counts = document.counts
    lines = [f"negative controls refuted: {document.controls - len(document.missed)} of {document.controls}"]
    lines += [f"negative control not refuted: {missed}" for missed in document.missed]
    properties = {"version": document.version, "seed": document.seed, "command": document.command}
    suite = node(
        "testsuite",
        node("properties", *(node("property", name=name, value=value) for name, value in properties.items())),
        *map(_case, document.claims),
        *map(_failed, document.errors),
        node("system-out", "\n".join(lines)),
        name="advmf", tests=len(document.claims) + len(document.errors), failures=counts["REFUTED"], skipped=counts["UNDERPOWERED"],
        errors=len(document.errors),
        time=f"{document.seconds:.3f}",
    )  # fmt: skip
    root = node("testsuites", suite)
    indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'


def _case(claim: Checked) -> Element:
    report = claim.report
    group = ".".join(filter(None, ("advmf", claim.case, report.net, claim.activation)))
    reasons = "; ".join(f"{f.label}: {f.reason}" for f in report.findings if f.verdict == report.verdict)
    outcome = {"REFUTED": "failure", "UNDERPOWERED": "skipped"}.get(report.verdict)
    numbers = str(report)
    told = node("system-out", numbers) if outcome is None else node(outcome, numbers, message=reasons)
    return node("testcase", told, classname=group, name=claim.title, time=f"{report.seconds:.3f}")


def _failed(failed: Failed) -> Element:
    group = ".".join(filter(None, ("advmf", failed.case, failed.net, failed.activation)))
    return node(
        "testcase",
        node("error", failed.text, message=failed.text, type=failed.kind),
        classname=group,
        name=failed.title,
    )
