"""The notebooks are as they are to be kept: set up by their first cell, without outputs, calling what there is.

Their execution is `make notebooks` and a workflow; here they are only read.
"""

import ast
import json
import re
from pathlib import Path

import doc_commands
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = ["01_see", "02_record", "03_train", "04_adapt", "05_compare", "06_serve"]
LARGEST = 100_000  # bytes


def cells(path: Path, kind: str) -> list[str]:
    document = json.loads(path.read_text())
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    found = [cell for cell in document["cells"] if cell["cell_type"] == kind]
    assert all(cell.get("outputs", []) == [] and cell.get("execution_count") is None for cell in found)  # fmt: skip
    return ["".join(cell["source"]) for cell in found]


def test_the_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_its_setup_and_says_what_it_is(path):
    first = cells(path, "code")[0]
    assert 'find_spec("vla_policy") is None' in first and "SOURCE" in first
    assert first == cells(NOTEBOOKS[0], "code")[0]  # the same everywhere
    assert cells(path, "markdown")[0].startswith(f"# {path.stem[3:].capitalize()}\n\n")
    assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_and_calls_what_there_is(path):
    for source in cells(path, "code"):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("vla_policy"):
                known = doc_commands.names_in(node.module)
                assert {alias.name for alias in node.names} <= known
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "vla":
                words = [a.value if isinstance(a, ast.Constant) else "X" for a in node.args]
                words = [str(word) for word in words]
                words = [w for w in words if not re.fullmatch(r"\*.*", w)]
                assert doc_commands.problem(["vla", *words]) is None, words
