"""The documentation site: `sphinx-build -W --keep-going -n -b html docs docs/_build/html`."""

import hashlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

# One thread for each notebook, so that its numbers and its time are those of the page on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import advmf  # noqa: E402

project = "advmf"
author = "The advmf developers"
copyright = "The advmf developers, MIT licence"
version = release = advmf.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "formulas",  # LaTeX to MathML: no script, no font, nothing from elsewhere
    "links",  # links to files of the repository, and to names that have no entry of their own
    "names",  # the reference: a page for each topic, made from the lists of public names
    "statements",  # claims and derivations, set from what the package derives
]
exclude_patterns = ["_build", "_ext", "_static"]
templates_path = []
nitpicky = True

# Pages
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

# Notebooks are executed when they or the package have changed; an error ends the build. Sphinx reads every page again
# when this path changes, so no page shows what an earlier package derived.
SOURCES = [path for folder in ("advmf", "derivations") for path in sorted((HERE.parent / folder).rglob("*.py"))]
digest = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()[:16]
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / ".jupyter_cache" / digest)
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "image/svg+xml", 5)]

# The reference
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autosummary_generate = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = f"advmf {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
highlight_language = "text"  # of blocks that name none: what a program prints
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_exclude = ".linenos, .gp, .go"
