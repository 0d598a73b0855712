"""Report what this machine has, and known problems with their fixes.

Exit code 1 if something will not work.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Iterator

from vla_policy.check.doctor.devices import devices, ports
from vla_policy.check.doctor.environment import discovery, large_pictures, packages, python, ros
from vla_policy.check.doctor.machine import (
    FACT,
    PROBLEM,
    Note,
    gl,
    gpu,
    receive_buffer,
    shared_memory,
    system,
)
from vla_policy.check.guide import read_on

CHECKS: dict[str, tuple[Callable[[], Iterator[Note]], ...]] = {
    "machine": (system, shared_memory, receive_buffer),
    "python": (python, packages),
    "ros": (ros, lambda: discovery(os.environ), lambda: large_pictures(os.environ)),
    "gpu": (gpu,),
    "gl": (gl,),
    "devices": (devices, ports),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla doctor`."""
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(CHECKS)}; none: all")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print facts as they are found, then the problems; 1 if there is one."""
    for part in args.parts:
        if part not in CHECKS:
            raise ValueError(f"part: got {part!r}, expected one of {', '.join(CHECKS)}")
    wrong: list[Note] = []
    for part in args.parts or CHECKS:
        for check in CHECKS[part]:
            for note in check():
                if note.level == FACT:
                    print(f"{part:<8} {note.says}", flush=True)
                else:
                    wrong.append(note)
    print(advice(wrong))
    return 1 if any(note.level == PROBLEM for note in wrong) else 0


def advice(wrong: Iterable[Note]) -> str:
    """Problems first, each with its fix."""
    ordered = sorted(wrong, key=lambda note: note.level != PROBLEM)
    if not ordered:
        return "\nnothing wrong found"
    lines = [""]
    for note in ordered:
        lines += [f"{note.level:<8} {note.says}", f"{'':<8} {note.cure}"]
    lines += ["", read_on("doctor")]
    return "\n".join(lines)
