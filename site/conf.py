"""Sphinx's settings. The pages are those of the repository, laid out by `pages.py`; nothing is executed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from docstrings import as_restructured_text

project = "dcnlib"
author = "the authors of dcnlib"
html_title = "dcnlib: Dynamic Capacity Networks, step by step"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nb_execution_mode = "off"  # as they are committed
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # widgets need a kernel; what they load comes from other hosts
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
suppress_warnings = [
    "myst.header",  # notebooks begin sections below their title
    "mystnb.mime_type",  # the explorer's widget; its static picture stands above it
    "mystnb.unknown_mime_type",
]

html_theme = "furo"
html_favicon = "favicon.svg"  # or each page would ask the server for one that it lacks
html_copy_source = False
html_show_sphinx = False
mathjax_path = "mathjax.js"  # from site/package.json; the default asks another host
mathjax3_config = {"tex": {"inlineMath": [["\\(", "\\)"]]}}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}


def setup(app):
    app.connect("autodoc-process-docstring", as_restructured_text)
