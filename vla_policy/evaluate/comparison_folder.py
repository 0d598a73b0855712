"""The folder of a comparison: its plan, and one line for each finished trial.

compare.json     what is compared, the options that define a trial, facts of each policy
trials.jsonl     one line per trial; complete once it ends with a newline
films/           films of failed trials
report.html report.json report.md
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from vla_policy.data.lerobot.durable import (
    Busy,
    json_bytes,
    lock_folder,
    replace_file,
    room_for,
)
from vla_policy.parsing.json_document import read_json, require
from vla_policy.parsing.strict_json import parse_json

PLAN, TRIALS, FILMS, LOCK = "compare.json", "trials.jsonl", "films", ".lock"
FORMAT = 1
Cell = tuple[str, str, str]
Key = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class ComparisonPlan:
    """policies x robots x suites, trials 0 to episodes - 1 of each.

    options: others that define a trial.
    """

    policies: tuple[str, ...]
    robots: tuple[str, ...]
    suites: tuple[str, ...]
    episodes: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("policies", "robots", "suites"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values) or not all(values):
                raise ValueError(
                    f"--{SINGULAR[name]}: got {', '.join(values) or 'none'}, expected names, each once"
                )

    def cells(self) -> Iterator[Cell]:
        """Policy, robot and suite of each combination, grouped by policy and robot."""
        for policy in self.policies:
            for robot in self.robots:
                yield from ((policy, robot, suite) for suite in self.suites)


SINGULAR = {"policies": "policy", "robots": "robot", "suites": "suite"}


def key_of(row: Mapping[str, Any]) -> Key:
    """The trial of a row."""
    return row["policy"], row["robot"], row["suite"], row["index"]


class ComparisonFolder:
    """An open folder, locked by this process until it is closed. rows: of the finished trials.

    facts: policy -> robot -> its facts and why suites do not fit; filled by record_facts.
    Raises ValueError for the folder of another comparison or with other files, Busy while another
    process holds it.
    """

    def __init__(self, out: Path, plan: ComparisonPlan) -> None:
        self.out, self.plan = out, plan
        written = out / PLAN
        if not written.is_file() and out.is_dir() and any(p.name != LOCK for p in out.iterdir()):
            raise ValueError(
                f"{out}: got a folder with other files, expected a new one or that of a comparison"
            )
        try:
            self._lock: IO[str] = lock_folder(out / LOCK)
        except Busy as error:
            raise Busy(
                f"{out}: another `vla compare` works in this folder; name another --out"
            ) from error
        try:
            self.rows = _read_rows(out / TRIALS)
            self.facts: dict[str, dict[str, Any]] = {}
            if written.is_file():
                self.facts = _require_same(written, plan, self.rows)
            self._write_plan()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> ComparisonFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.close()

    @property
    def films(self) -> Path:
        """The folder of the films."""
        return self.out / FILMS

    def lacks(self, cell: Cell) -> list[int]:
        """Numbers of a cell's missing trials."""
        done = {key_of(row) for row in self.rows}
        return [i for i in range(self.plan.episodes) if (*cell, i) not in done]

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a trial: its line is on disk when this returns. Raises DiskFull."""
        line = (json.dumps(dict(row), allow_nan=False) + "\n").encode()
        path = self.out / TRIALS
        with room_for(path), path.open("ab", buffering=0) as file:
            file.write(line)
            os.fsync(file.fileno())
        self.rows.append(dict(row))

    def read_again(self) -> None:
        """Take the trials from the disk: one may have come there just when an interrupt did."""
        self.rows = _read_rows(self.out / TRIALS)

    def record_facts(self, policy: str, robot: str, facts: Mapping[str, Any]) -> None:
        """Store facts of a policy on a robot. Raises ValueError if its weights have changed."""
        before = self.facts.setdefault(policy, {}).get(robot)
        if before is not None and before.get("weights") != facts.get("weights"):
            raise ValueError(
                f"{self.out}: policy {policy!r}: got the weights {_short(facts)}, expected {_short(before)} as the trials "
                "here were made with; name another --out"
            )
        self.facts[policy][robot] = dict(facts)
        self._write_plan()

    def _write_plan(self) -> None:
        plan = {f.name: getattr(self.plan, f.name) for f in fields(self.plan)}
        content = {"format": FORMAT, **plan, "facts": self.facts}
        replace_file(self.out / PLAN, json_bytes(content, indent=1))


def _require_same(
    path: Path, plan: ComparisonPlan, rows: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The facts in a folder that matches plan, which may have more policies or episodes.

    Raises ValueError that names each argument that changed.
    """
    said = read_json(path)
    if said.get("format") != FORMAT:
        raise ValueError(f"{path}: format: got {said.get('format')!r}, expected {FORMAT}")
    options = require(said, "options", dict, path)
    changed = [
        f"--{name.replace('_', '-')}: got {plan.options.get(name)}, expected {options.get(name)}"
        for name in dict.fromkeys((*options, *plan.options))
        if plan.options.get(name) != options.get(name)
    ]
    for name, singular in SINGULAR.items():
        made = dict.fromkeys(row[singular] for row in rows)
        if lost := [value for value in made if value not in getattr(plan, name)]:
            changed.append(f"--{singular}: got none of {', '.join(lost)}, of which it has trials")
    if plan.episodes < (made_of := max((row["index"] + 1 for row in rows), default=0)):
        changed.append(f"--episodes: got {plan.episodes}, expected {made_of} or more")
    if changed and rows:
        raise ValueError(
            f"{path.parent}: holds trials made with other arguments; {'; '.join(changed)}; name another --out"
        )
    facts: dict[str, dict[str, Any]] = require(said, "facts", dict, path)
    return {} if changed else facts


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The complete lines; a truncated last one is removed.

    Raises ValueError naming an invalid line.
    """
    if not path.is_file():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    rows: dict[Key, dict[str, Any]] = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        row = parse_json(line, f"{path}:{number}")
        if not isinstance(row, dict) or not {
            "policy",
            "robot",
            "suite",
            "index",
            "success",
        } <= set(row):
            raise ValueError(f"{path}:{number}: got no trial of a comparison, expected one a line")
        rows[key_of(row)] = row
    if len(whole) < len(data):
        replace_file(path, whole)
    return list(rows.values())


def _short(facts: Mapping[str, Any]) -> str:
    return str(facts.get("weights"))[:19]


def asked_rows(
    plan: ComparisonPlan, rows: Sequence[Mapping[str, Any]]
) -> dict[Cell, list[Mapping[str, Any]]]:
    """Rows of each cell of plan that has any, ordered by plan and number."""
    of: dict[Cell, list[Mapping[str, Any]]] = {cell: [] for cell in plan.cells()}
    for row in sorted(rows, key=lambda r: r["index"]):
        cell = (row["policy"], row["robot"], row["suite"])
        if cell in of and row["index"] < plan.episodes:
            of[cell].append(row)
    return {cell: found for cell, found in of.items() if found}
