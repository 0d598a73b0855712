"""Run files (config/runs/*.yaml): a training run, read strictly.

A set or policy beside the file may be given by its name; other paths, and `out`, are relative to
the working folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from vla_policy.parsing.fields import Place, number, read_yaml, text
from vla_policy.parsing.record import plain, read_record
from vla_policy.paths import config_dir
from vla_policy.train.run import DataSetConfig, Run
from vla_policy.train.set_options import DEFAULTS, read_options

OWN = ("part", "held_out")  # options of a set that the run decides


def read_run(path: Path, **instead: Any) -> Run:
    """The run in a file; instead: keys that replace those of the file, in the file's form.

    Raises ValueError: file and line, key, what was got, what was expected.
    """
    content, place = read_yaml(path)
    if isinstance(content, dict):
        content = {**content, **instead}
        if "policy" not in instead and isinstance(content.get("policy"), str):
            content["policy"] = _beside(path, content["policy"])
    return run_of(content, place, None if "data" in instead else path)


def run_of(content: Any, place: Place, file: Path | None = None) -> Run:
    """The run in plain data. file: its sets may lie beside it."""
    known = {}
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        at = place.at("data")
        known["data"] = tuple(_set(e, at.at(i), file) for i, e in enumerate(content["data"]))
    if file is not None and isinstance(content, dict):
        content = {
            **content,
            "questions": _beside_each(content.get("questions", []), "file", file),
            "asked": _beside_each(content.get("asked", []), "set", file),
        }
    return read_record(Run, content, place, known)


def find_run(name_or_path: str) -> Path:
    """The file of a shipped run by name, a file, or the one in a run's folder.

    Raises FileNotFoundError.
    """
    path = Path(name_or_path).expanduser()
    for found in (path, path / "run.yaml", config_dir() / "runs" / f"{name_or_path}.yaml"):
        if found.is_file():
            return found
    names = sorted(p.stem for p in (config_dir() / "runs").glob("*.yaml"))
    raise FileNotFoundError(
        f"run {name_or_path!r}: no run file of that path; shipped are only: {', '.join(names) or 'none'}"
    )


def run_data(run: Run) -> dict[str, Any]:
    """The content of a run file, with every key; of a set's options only non-default ones."""
    return {**plain(run), "data": [_set_data(data) for data in run.data]}


def run_text(run: Run) -> str:
    """The same as YAML."""
    text: str = yaml.safe_dump(run_data(run), sort_keys=False, width=99)
    return text


def _set(entry: Any, place: Place, file: Path | None) -> DataSetConfig:
    if isinstance(entry, str):  # the short form: only a folder
        entry = {"set": entry}
    if not isinstance(entry, dict):
        raise place.refuse(entry, "a folder, or a mapping with set")
    rest = {k: v for k, v in entry.items() if k not in ("set", "weight")}
    for key in OWN:
        if key in rest:
            raise place.at(key).refuse(
                rest[key], "nothing here: `held_out: {share: ...}` of the run"
            )
    options = read_options(rest, place)
    if "set" not in entry:
        raise place.at("set").refuse("nothing", "this key, it has no default")
    name = text(entry["set"], place.at("set"), "a folder")
    weight = entry.get("weight")
    if weight is not None:
        weight = number(weight, place.at("weight"), 1e-9, 1e9)
    return DataSetConfig(name if file is None else _beside(file, name), weight, options)


def _beside_each(entries: Any, key: str, file: Path) -> Any:
    """The same, with paths beside the run file resolved."""
    if not isinstance(entries, list):
        return entries
    return [
        {**e, key: _beside(file, e[key])}
        if isinstance(e, dict) and isinstance(e.get(key), str)
        else e
        for e in entries
    ]


def _set_data(data: DataSetConfig) -> dict[str, Any]:
    usual: Mapping[str, Any] = plain(DEFAULTS)
    options = {k: v for k, v in plain(data.options).items() if v != usual[k]}
    return {"set": data.set, "weight": data.weight, **options}


def _beside(file: Path, name: str) -> str:
    """The path, if a file of that name is beside this one; else name unchanged."""
    path = file.parent / Path(name).expanduser()
    return str(path) if path.exists() else name
