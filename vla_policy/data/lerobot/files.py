"""Reading the files of a set: errors are one sentence with the path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vla_policy.parsing.files import MIB, one_line, read_bytes, require_file
from vla_policy.parsing.strict_json import parse_json

DOCUMENT = 64 * MIB  # statistics of many features, lines about many episodes


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises FileNotFoundError or ValueError."""
    value = parse_json(read_bytes(path, DOCUMENT), path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: got {type(value).__name__}, expected a JSON object")
    return value


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """JSON objects, one per line. Raises FileNotFoundError or ValueError, with the line."""
    found = []
    for number, line in enumerate(read_bytes(path, DOCUMENT).split(b"\n"), 1):
        if line.strip():
            value = parse_json(line, f"{path}:{number}")
            if not isinstance(value, dict):
                raise ValueError(
                    f"{path}:{number}: got {type(value).__name__}, expected an object"
                )
            found.append(value)
    return found


def read_table(
    path: Path, columns: Sequence[str] | None = None, *, filters: Any = None
) -> pa.Table:
    """A parquet file. Raises FileNotFoundError, or ValueError if it is truncated or invalid."""
    require_file(path)
    try:
        return pq.read_table(
            path, columns=columns, filters=filters, partitioning=None, memory_map=False
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable parquet file: {one_line(error)}") from error
