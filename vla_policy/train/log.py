"""log.jsonl of a run: one line every so many steps; after resuming without the repeated steps."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vla_policy.data.lerobot.durable import replace_file, room_for

LOG = "log.jsonl"


def read_log(out: Path) -> list[dict[str, Any]]:
    """The lines; an incomplete last one is left out."""
    path = out / LOG
    lines = path.read_text().split("\n") if path.is_file() else [""]
    return [json.loads(line) for line in lines[:-1]]


def cut_log(out: Path, step: int) -> None:
    """Remove lines after step."""
    if (out / LOG).is_file():
        kept = [line for line in read_log(out) if line["step"] <= step]
        replace_file(out / LOG, "".join(json.dumps(line) + "\n" for line in kept).encode())


@contextmanager
def board(out: Path, step: int) -> Iterator[Any]:
    """TensorBoard's writer into OUT/tensorboard, from step on; None if it is not installed."""
    if find_spec("tensorboard") is None:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(out / "tensorboard"), purge_step=step + 1) as writer:
        yield writer


def add_line(out: Path, line: Mapping[str, Any], writer: Any = None) -> None:
    """Append one line, and its values to TensorBoard."""
    path = out / LOG
    if writer is not None:
        for key, value in line.items():
            writer.add_scalar(key, value, line["step"])
    with room_for(path), path.open("a") as file:
        file.write(json.dumps(dict(line), allow_nan=False) + "\n")
