"""The small JSON files of a checkpoint folder, read strictly."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from vla_policy.parsing.files import one_line, read_bytes
from vla_policy.parsing.strict_json import parse_json

# Names of a folder's weights: the single file, or the index of shards.
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

Kind = TypeVar("Kind")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises FileNotFoundError, or ValueError for anything else in the file."""
    try:
        data = parse_json(read_bytes(path), path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no {path.name} in {path.parent}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: got {type(data).__name__}, expected a JSON object")
    return data


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON that ends with a newline."""
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def require(data: Mapping[str, Any], key: str, kind: type[Kind], where: Path) -> Kind:
    """data[key] of type kind. Raises ValueError with got and expected."""
    value = data.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(
            f"{where}: {key}: got {one_line(repr(value), 80)}, expected {kind.__name__}"
        )
    return value
