"""Run files (config/runs/*.yaml): a training run, read strictly.

A set or policy that lies beside the file may be named from there; other paths, and `out`, start at the working folder.
"""

from pathlib import Path
from typing import Any

import yaml

from vla_policy.parsing.fields import read_yaml
from vla_policy.parsing.record import plain, read_record
from vla_policy.paths import config_dir
from vla_policy.train.run import Run


def read_run(path: Path, **instead: Any) -> Run:
    """The run in a file; instead: keys, as the file would hold them, that are given beside it and win.

    Raises ValueError: file and line, key, what was got, what was expected.
    """
    content, place = read_yaml(path)
    if isinstance(content, dict):
        content = {**content, **instead}
        if "policy" not in instead and isinstance(content.get("policy"), str):
            content["policy"] = _beside(path, content["policy"])
        if "data" not in instead and isinstance(content.get("data"), list):
            content["data"] = [_set(path, entry) for entry in content["data"]]
    return read_record(Run, content, place)


def find_run(name_or_path: str) -> Path:
    """The file of a shipped run by name, or the path itself. Raises FileNotFoundError."""
    named = config_dir() / "runs" / f"{name_or_path}.yaml"
    for found in (Path(name_or_path).expanduser(), named):
        if found.is_file():
            return found
    names = sorted(p.stem for p in (config_dir() / "runs").glob("*.yaml"))
    raise FileNotFoundError(
        f"run {name_or_path!r}: no run file of that path; shipped are only: {', '.join(names) or 'none'}"
    )


def run_text(run: Run) -> str:
    """A run file that holds every key of run."""
    text: str = yaml.safe_dump(plain(run), sort_keys=False, width=99)
    return text


def _set(file: Path, entry: Any) -> Any:
    if isinstance(entry, str):  # the short form: a folder alone
        entry = {"set": entry}
    if isinstance(entry, dict) and isinstance(entry.get("set"), str):
        return {**entry, "set": _beside(file, entry["set"])}
    return entry


def _beside(file: Path, name: str) -> str:
    """The path, if there is something of that name beside the file; else name as it is."""
    path = file.parent / Path(name).expanduser()
    return str(path) if path.exists() else name
