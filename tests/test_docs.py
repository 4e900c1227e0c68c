"""Examples of the documentation print what the pages show."""

import contextlib
import io
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE = re.compile(r"```python\n(.*?)```\n+```\n(.*?)```", re.DOTALL)
"""A block of code followed by a block with its output."""


@pytest.mark.parametrize("page", ["derivations.md"])
def test_an_example_prints_what_the_page_shows(page):
    examples = EXAMPLE.findall((DOCS / page).read_text())
    assert examples
    for code, shown in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page, "exec"), {})
        assert printed.getvalue().strip() == shown.strip()
