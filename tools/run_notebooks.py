"""Execute the notebooks from nothing, as a reader does; what they print stays out of the files.

    python tools/run_notebooks.py [notebooks/01_see.ipynb ...]      # or: make notebooks

One line per notebook with its seconds. Exit code 1 if a cell failed, with what it said, or if one made no picture.
"""

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
LIMIT_S = 900
PICTURE = "image/png"


def run(path: Path) -> str:
    """What is wrong with a notebook, '' for nothing."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=LIMIT_S, resources={"metadata": {"path": str(path.parent)}}
    )
    try:
        client.execute()
    except CellExecutionError as error:
        return str(error)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    return "" if any(PICTURE in o.get("data", {}) for o in outputs) else "no picture"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    bad = 0
    for path in parser.parse_args().notebooks or sorted(FOLDER.glob("*.ipynb")):
        begun = time.monotonic()
        wrong = run(path)
        bad += bool(wrong)
        print(f"{path.name}: {wrong or 'ok'}, {time.monotonic() - begun:.0f} s", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
