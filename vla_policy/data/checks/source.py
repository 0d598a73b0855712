"""Detects the kind of data at a path, and collects all findings about it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vla_policy.data.bag.reader import is_bag
from vla_policy.data.checks.bags import check_bags
from vla_policy.data.checks.bounds import UNKNOWN, bounds_of
from vla_policy.data.checks.finding import DataFinding, fault
from vla_policy.data.checks.lerobot_set import check_set
from vla_policy.data.checks.shard_set import check_shards
from vla_policy.data.conversion.sources import BAGS, SHARDS, bags_below, kind_of
from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.files import read_json
from vla_policy.data.shards import META_FILE, shards_below
from vla_policy.embodiment import Embodiment, embodiment_names, load_embodiment

Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class How:
    """quick: decode nothing.

    workers: processes, 0: one per core. episodes: those to read, None: all.
    """

    quick: bool
    workers: int
    episodes: Sequence[int] | None
    tell: Tell


def check_data(
    path: Path,
    robot: str | None = None,
    *,
    quick: bool = False,
    workers: int = 0,
    episodes: Sequence[int] | None = None,
    tell: Tell = lambda done, total: None,
) -> tuple[DataFinding, ...]:
    """Findings of a data set, of shards, of a bag or a folder of bags, or of a recording with both.

    robot: name or file; without it the one that the data names, if known. tell: called with (done,
    total). episodes: of a set, those to read; None: all.
    Raises FileNotFoundError or ValueError for a path of another kind.
    """
    how = How(quick, workers, episodes, tell)
    inner = path / "set"
    if (inner / layout.INFO).is_file() and not (path / layout.INFO).is_file():
        bags = bags_below(path) if (path / "bags").is_dir() else []
        of_bags = check_bags(bags, _named(robot))
        return (*of_bags, *_set(inner, robot, how))
    kind = kind_of(path)
    if kind == BAGS:
        bags = [path] if is_bag(path) else bags_below(path)
        return check_bags(bags, _named(robot), tell=lambda done: tell(done, len(bags)))
    if kind == SHARDS:
        total = len(shards_below(path, META_FILE))
        return check_shards(path, tell=lambda done: tell(done, total))
    return _set(path, robot, how)


def _set(path: Path, robot: str | None, how: How) -> tuple[DataFinding, ...]:
    try:
        info = read_json(path / layout.INFO)
    except (ValueError, FileNotFoundError):
        return check_set(path)
    total = int(info.get("total_episodes") or 0) if how.episodes is None else len(how.episodes)
    named = _named(robot)
    said = str(info.get("robot_type") or "")
    own = path / layout.OWN_SET
    text = str(read_json(own).get("robot_yaml", "")) if own.is_file() else ""
    known = named or _robot(said, text)
    found = check_set(
        path,
        UNKNOWN if known is None else bounds_of(known),
        quick=how.quick,
        workers=how.workers,
        episodes=how.episodes,
        tell=lambda done: how.tell(done, total),
    )
    if named is not None and said and said != named.name:
        other = fault(
            "mixed_robots",
            f"is a set of robot {said!r}, expected {named.name!r}",
            "Name the robot that it was recorded with, or rename it with `vla data edit --robot`",
        )
        return (other, *found)
    return found


def _named(robot: str | None) -> Embodiment | None:
    return None if robot is None else load_embodiment(robot)


def _robot(name: str, text: str) -> Embodiment | None:
    """The shipped robot of a set's name, else that of the file in the set; None if unreadable."""
    if name in embodiment_names():
        return load_embodiment(name)
    if not text:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name or 'robot'}.yaml"
        file.write_text(text, encoding="utf-8")
        try:
            return load_embodiment(file)
        except (ValueError, FileNotFoundError):  # files that it names are missing here
            return None
