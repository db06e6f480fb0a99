"""The site of the documentation: `make docs` builds it into build/docs, and fails on any warning."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util.nodes import make_refnode

from neuralpatch_cuda.config import Options

ROOT = Path(__file__).resolve().parents[1]

project = "neuralpatch_cuda"
author = "the neuralpatch_cuda authors"
release = metadata.version(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = project

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

default_role = "py:obj"  # of `names` in docstrings: a link where the site has such an object, else code
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {
    "Array": "numpy.ndarray",
    "Callback": "neuralpatch_cuda.inpainter.Callback",
    "ImageLike": "neuralpatch_cuda.imaging.images.ImageLike",
    "MaskLike": "neuralpatch_cuda.imaging.masks.MaskLike",
}

linkcheck_timeout = 20  # of `sphinx-build -b linkcheck`, which needs a network
linkcheck_retries = 2

nitpicky = True  # what is the package's own must be there; other projects cannot be looked up without a network
nitpick_ignore_regex = [("py:obj", ".*"), ("py:.*", r"(?!neuralpatch_cuda\b).*")]

NAPOLEON = Config(napoleon_numpy_docstring=False, napoleon_use_rtype=False)


def is_model(obj: Any) -> bool:
    return isinstance(obj, type) and issubclass(obj, Options)


def format_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring into reStructuredText; a model of options gets a list of them."""
    for i in range(len(lines) - 1, 1, -1):
        if lines[i].startswith("    ") and not lines[i - 1] and not lines[i - 2].startswith(" "):
            lines[i:i] = ["::", ""]  # as in Markdown, what is indented is literal
    if what not in ("attribute", "data", "property"):  # of which Napoleon takes what is before a colon for the type
        lines[:] = GoogleDocstring(lines, NAPOLEON, app, what, name, obj, options).lines()
    if is_model(obj):
        for option, field in obj.model_fields.items():
            assert isinstance(field.json_schema_extra, dict)
            lines += [
                *(f".. py:attribute:: {option}", f"   :value: {field.default!r}", ""),
                *(f"   {field.description}", "", f"   *{field.json_schema_extra['allowed']}*", ""),
            ]


def shorten_signature(app: Sphinx, what: str, name: str, obj: Any, *rest: Any) -> tuple[str, str] | None:
    """Leave out the options of a model, which are listed below it."""
    return ("(**options)", "") if is_model(obj) else None


def add_command_line(app: Sphinx, name: str, source: list[str]) -> None:
    """Append what Typer says of each command to the page of the command line."""
    if name == "command-line":
        command = [sys.executable, "-m", "typer", "neuralpatch_cuda.cli", "utils", "docs", "--name", "neuralpatch"]
        commands = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        source[0] += "\n" + commands.split("\n", 1)[1]


def relocate_links(app: Sphinx, path: Path, parent: str, content: list[str]) -> None:
    """Make links of README.md and CHANGELOG.md relative to this folder, into whose pages they are included."""
    content[0] = re.sub(r"\]\((?!\w+:|#)", "](../", content[0])


def link_folders(app: Sphinx, doctree: nodes.document) -> None:
    """Lead links to folders of the repository to the file that says what is in them."""
    for node in list(doctree.findall(pending_xref)):
        path = Path(app.env.relfn2path(node["reftarget"])[1])
        if node["reftype"] == "myst" and path.is_dir() and path.is_relative_to(ROOT):
            about = (folder / name for folder in (path, *path.parents) for name in ("README.md", "__init__.py"))
            target = next(file for file in about if file.exists()).relative_to(ROOT)
            link = download_reference(reftarget=f"/../{target}")
            link += node.children
            node.replace_self(link)


def link_modules(app: Sphinx, doctree: nodes.document, name: str) -> None:
    """Lead links to modules to the reference of what the link's text names, or of the module, if there is one."""
    objects = app.env.domains.python_domain.objects
    for node in list(doctree.findall(download_reference)):
        path = Path(app.env.relfn2path(node["reftarget"], name)[1])
        if path.suffix == ".py":
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            names = f"{module}.{node.astext()}", f"neuralpatch_cuda.{node.astext()}", module
            found = next((objects[each] for each in names if each in objects), None)
            if found is not None:
                node.replace_self(make_refnode(app.builder, name, found.docname, found.node_id, node.children))


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", format_docstring)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("include-read", relocate_links)
    app.connect("source-read", add_command_line)
    app.connect("doctree-read", link_folders, priority=400)  # before files to download are collected
    app.connect("doctree-resolved", link_modules)
    app.add_lexer("csv", TextLexer)  # Pygments has none
