"""The guide as a notebook, which Jupyter runs while the site is built: `guide.ipynb`."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

GUIDE = Path(__file__).parents[1] / "docs" / "guide.md"
NOTEBOOK = "guide.ipynb"
CODE = re.compile(r"^```python\n(.*?)^```\n|((?:^ {4}\S[^\n]*\n)+)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((\w+\.md)\)")
FAULT = re.compile(r"^pzsl: .*|.*not found$|^Usage: .*", re.MULTILINE)
SECONDS = 300
"""That a cell may take."""


def on_files(files: Files, config: Any) -> Files:
    """Add the notebook with what its cells answered.

    Raises:
        CellExecutionError: a cell fails, and so the build does.
    """
    text = nbformat.writes(run_notebook(notebook_of(GUIDE.read_text(encoding="utf-8"))))
    files.append(File.generated(config, NOTEBOOK, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Show the guide's readers where the notebook is."""
    if page.file.src_uri != GUIDE.name:
        return markdown
    title, _, rest = markdown.partition("\n")
    link = f"The same as a notebook, with what it answers: [{NOTEBOOK}]({NOTEBOOK})."
    return f"{title}\n\n{link}\n{rest}"


def notebook_of(markdown: str) -> Any:
    """A notebook of a document: Python and command lines become cells, in order."""
    cells, start = [], 0
    for block in CODE.finditer(markdown):
        cells.append(_prose(markdown[start : block.start()]))
        python, shell = block.groups()
        lines = [f"!{line.strip()}" for line in (shell or "").splitlines()]
        cells.append(new_code_cell((python or "\n".join(lines)).strip()))
        start = block.end()
    cells.append(_prose(markdown[start:]))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # the same in each build
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=cells, metadata=about)


def _prose(text: str) -> Any:
    """Links lead to the pages of the site, as the notebook lies beside these."""
    return new_markdown_cell(LINK.sub(lambda m: f"]({m[1].replace('.md', '.html')})", text).strip())


def run_notebook(notebook: Any) -> Any:
    """The notebook with its cells' answers; all that it writes goes with a temporary folder.

    Raises:
        CellExecutionError: a cell of Python fails. RuntimeError: a command does.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        programs = (
            Path(sys.executable).parent,
            os.environ.get("PATH", ""),
        )  # pzsl lies beside Python
        own = {**os.environ, "PATH": os.pathsep.join(map(str, programs)), "TERM": "dumb"}
        NotebookClient(notebook, timeout=SECONDS, resources=place).execute(env=own)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            _check(cell)
    return notebook


def _check(cell: Any) -> None:
    """Jupyter goes on where a command fails: what it printed tells."""
    told = "".join(output.get("text", "") for output in cell.outputs)
    fault = FAULT.search(told)
    if fault:
        raise RuntimeError(f"{NOTEBOOK}: {cell.source}\n{fault[0]}")
