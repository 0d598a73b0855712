"""Invalid and corrupted files, and the sentence with which each is refused."""

import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MEMORY = 4 << 30  # of address space; the interpreter with torch uses two


SECONDS = 60


def vla(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`vla` with little memory and little time."""
    return subprocess.run(
        [sys.executable, "-m", "vla_policy.cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=SECONDS, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )  # fmt: skip


def refusal(call: Callable[[], object]) -> str:
    """The sentence with which call refuses."""
    with pytest.raises((ValueError, OSError)) as refused:
        call()
    sentence = str(refused.value)
    assert len(sentence) < 2000 and "\n" not in sentence, sentence
    return sentence


def special(path: Path, kind: str) -> Path:
    """An invalid file: a pipe, a device, a folder, a loop of links, nothing."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    return path


SPECIAL = {
    "pipe": "got a pipe, expected a file",
    "device": "got a device, expected a file",
    "folder": "got a folder, expected a file",
    "loop": "Too many levels of symbolic links",
    "nothing": "No such file",
}


VALUES = (None, True, 0, -1, 10**30, 1e308, "x", "", [], {}, [[]], "a\nb", ["x"], {"a": 1}, 0.5, float("nan"))  # fmt: skip


ROUNDS = int(os.environ.get("VLA_POLICY_CORRUPTIONS", "12"))  # of each file; 300 find rare errors


def keys_of(value: object, path: tuple = ()) -> list[tuple]:
    found = [path]
    if isinstance(value, dict):
        for key, below in value.items():
            found += keys_of(below, (*path, key))
    elif isinstance(value, list):
        for i, below in enumerate(value[:3]):
            found += keys_of(below, (*path, i))
    return found


def corrupted(data: bytes, rng: random.Random, *, fields: bool) -> bytes:
    """data with one byte, or one field of JSON, replaced."""
    if not fields or rng.random() < 0.3:
        changed = bytearray(data)
        changed[rng.randrange(min(len(data), 20_000))] = rng.randrange(256)
        return bytes(changed)
    content = json.loads(data)
    path = rng.choice(keys_of(content)[1:])
    at = content
    for key in path[:-1]:
        at = at[key]
    if isinstance(at, dict) and rng.random() < 0.2:
        del at[path[-1]]
    else:
        at[path[-1]] = rng.choice(VALUES)
    return json.dumps(content).encode()
