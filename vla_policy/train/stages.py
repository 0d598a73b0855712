"""Runs in stages: a run file with `stages:`, each a run that starts from the one before.

    out: runs/tiny               OUT/pointing, OUT/heads: the stages' folders; OUT/checkpoint: the
                                 last one's result
    stages:
      - name: pointing           all other keys as in a run file; those beside `stages` hold for
      all
        policy: tiny
      - name: heads

A call resumes where the previous one stopped; complete stages are skipped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vla_policy.data.lerobot.durable import replace_file
from vla_policy.parsing.fields import Place, read_yaml
from vla_policy.train.run import Run
from vla_policy.train.run_file import run_data, run_of
from vla_policy.train.run_folder import LATEST, PARTIAL, STATE, steps_in
from vla_policy.train.trainer import TrainingResult

STAGES, STAGE_NAME = "stages", "name"
FOLDER = re.compile(r"[A-Za-z0-9_-]+")
BESIDE = ("out", "workers", "seed", "threads")  # may be given beside a file with stages


@dataclass(frozen=True, slots=True)
class RunStage:
    """One of several runs in a row."""

    name: str
    run: Run

    @property
    def complete(self) -> bool:
        """Whether all its steps are done."""
        return self.run.steps in steps_in(Path(self.run.out), STATE)


def has_stages(path: Path) -> bool:
    """Whether a run file is one of several runs in a row."""
    content, _ = read_yaml(path)
    return isinstance(content, dict) and STAGES in content


def read_stages(path: Path, **instead: Any) -> tuple[RunStage, ...]:
    """The runs of a file with stages; instead: keys that replace those of the file.

    Raises ValueError: file and line, key, what was got, what was expected.
    """
    if unfit := [key for key in instead if key not in BESIDE]:
        raise ValueError(
            f"--{unfit[0]}: got one beside {path.name}, which has stages, each with its own; expected it in the file"
        )
    content, place = read_yaml(path)
    shared = {key: value for key, value in content.items() if key != STAGES} | instead
    entries, at = content[STAGES], place.at(STAGES)
    if not isinstance(entries, list) or not entries:
        raise at.refuse(entries, "a list of stages")
    if "out" not in shared or not isinstance(shared["out"], str):
        raise place.at("out").refuse(shared.get("out", "nothing"), "a folder")
    stages: list[RunStage] = []
    for number, entry in enumerate(entries):
        stages.append(_stage(entry, at.at(number), shared, path, stages))
    return tuple(stages)


def _stage(
    entry: Any, place: Place, shared: dict[str, Any], path: Path, before: list[RunStage]
) -> RunStage:
    if not isinstance(entry, dict):
        raise place.refuse(entry, "a mapping with name and the keys of a run")
    name = entry.get(STAGE_NAME)
    if not isinstance(name, str) or not FOLDER.fullmatch(name) or name in {s.name for s in before}:
        raise place.at(STAGE_NAME).refuse(name, "a name of its own for each stage")
    if "out" in entry:
        raise place.at("out").refuse(entry["out"], "it beside stages: each has a folder in it")
    own = {key: value for key, value in entry.items() if key != STAGE_NAME}
    usual = {"policy": f"{before[-1].run.out}/{LATEST}"} if before else {}
    out = str(Path(shared["out"]) / name)
    return RunStage(name, run_of({**usual, **shared, **own, "out": out}, place, path))


def train_stages(
    stages: tuple[RunStage, ...], train: Callable[[Run], TrainingResult]
) -> TrainingResult:
    """Train incomplete stages in order until a stop; then OUT/checkpoint is the last result."""
    out = Path(stages[-1].run.out).parent
    out.mkdir(parents=True, exist_ok=True)
    replace_file(out / "run.yaml", stages_text(out, stages).encode())
    result = TrainingResult(stages[-1].run.steps, False)
    for stage in stages:
        if not stage.complete:
            print(f"stage {stage.name}: {stage.run.steps} steps in {stage.run.out}")
            result = train(stage.run)
            if result.stopped:
                return result
    if result.leads:
        link = out / f".{LATEST}{PARTIAL}"
        link.unlink(missing_ok=True)
        link.symlink_to(Path(stages[-1].name) / LATEST)
        os.replace(link, out / LATEST)
    return result


def stages_text(out: Path, stages: tuple[RunStage, ...]) -> str:
    """The stages as a file with every key."""
    entries = []
    for stage in stages:
        entry = {STAGE_NAME: stage.name, **run_data(stage.run)}
        del entry["out"]
        entries.append(entry)
    text: str = yaml.safe_dump({"out": str(out), STAGES: entries}, sort_keys=False, width=99)
    return text
