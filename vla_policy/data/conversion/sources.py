"""The kind of a source to convert, and its robot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vla_policy.data.bag.metadata import NAMESPACE, ROBOT, ROBOT_FILE
from vla_policy.data.bag.reader import Bag, is_bag
from vla_policy.data.lerobot import layout
from vla_policy.data.robot_streams import Topics, topics_of
from vla_policy.data.shards import META_FILE, shards_below
from vla_policy.embodiment import (
    Embodiment,
    embodiment_names,
    find_embodiment,
    load_embodiment,
)
from vla_policy.parsing.files import read_text

BAGS, SET, SHARDS = "bags", "set", "shards"


def kind_of(source: Path) -> str:
    """BAGS, SET or SHARDS. Raises FileNotFoundError, or ValueError for a path that is none of them."""
    if not source.exists():
        raise FileNotFoundError(f"{source}: is not there, expected bags, a data set or shards")
    if is_bag(source) or bags_below(source):
        return BAGS
    if (source / layout.INFO).is_file():
        return SET
    if source.is_dir() and shards_below(source, META_FILE):
        return SHARDS
    raise ValueError(
        f"{source}: got neither bags (metadata.yaml, .mcap, .db3) nor a data set ({layout.INFO}) nor shards ({META_FILE})"
    )


def bags_below(source: Path) -> list[Path]:
    """The bags of a folder of bags, or of a recording with its folder bags/, sorted by name."""
    if not source.is_dir():
        return []
    inside = source / "bags"
    folder = inside if inside.is_dir() else source
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and is_bag(path)]


@dataclass(frozen=True, slots=True)
class RobotFile:
    """A robot, its file and the file's text."""

    robot: Embodiment
    path: Path
    text: str


def named_robot(name_or_path: str | Path) -> RobotFile:
    """The robot of a shipped name or a file. Raises ValueError."""
    path = find_embodiment(name_or_path)
    return RobotFile(load_embodiment(path), path, read_text(path))


def robot_of_bag(bag: Bag, scratch: Path) -> RobotFile:
    """The robot named in a recording of this project. scratch: a folder for its file.

    Raises ValueError for a recording without one.
    """
    name, text = bag.custom.get(ROBOT, ""), bag.custom.get(ROBOT_FILE, "")
    if not text:
        raise ValueError(
            f"{bag.path}: does not say of which robot it is; name it with --robot NAME or --robot FILE.yaml"
        )
    if name in embodiment_names() and (shipped := named_robot(name)).text == text:
        return shipped  # the folder in which the files it names are found
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / f"{name or 'robot'}.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        return RobotFile(load_embodiment(file), file, text)
    except ValueError as error:
        raise ValueError(
            f"{bag.path}: the robot file that it brings cannot be used ({error}); name the file with --robot FILE.yaml"
        ) from error


@dataclass(frozen=True, slots=True)
class Recorded:
    """How to read a bag: namespace of relative topics; whether outputs' topics give commands."""

    namespace: str
    from_outputs: bool


def recorded(bag: Bag, robot: Embodiment, namespace: str | None = None) -> Recorded:
    """How a bag contains this robot.

    Raises ValueError in one sentence for another robot or a missing topic.
    """
    named = bag.custom.get(ROBOT)
    if named and named != robot.name:
        raise ValueError(f"{bag.path}: is a recording of robot {named!r}, expected {robot.name!r}")
    below = namespace or bag.custom.get(NAMESPACE) or _namespace(bag, robot)
    topics = topics_of(robot, below)
    missing = [topic for topic in topics.needed if topic not in bag.types]
    if missing:
        raise ValueError(
            f"{bag.path}: lacks the topics {', '.join(missing)} of robot {robot.name!r}; it has {_names(bag)}"
        )
    return Recorded(below, _from_outputs(bag, robot, topics))


def _from_outputs(bag: Bag, robot: Embodiment, topics: Topics) -> bool:
    if topics.reports in bag.types:
        return False
    missing = [topic for topic in topics.outputs if topic not in bag.types]
    if missing:
        raise ValueError(
            f"{bag.path}: says nothing of what was commanded: it lacks {topics.reports}, and of the outputs of "
            f"robot {robot.name!r} {', '.join(missing)}; it has {_names(bag)}"
        )
    return True


def _namespace(bag: Bag, robot: Embodiment) -> str:
    """The one namespace of the robot's topics; '/' if that is ambiguous."""
    own = topics_of(robot)
    found = [
        {name.removesuffix(topic) for name in bag.types if name.endswith(topic)}
        for topic in own.own
    ]
    common = set.intersection(*found) if found else set()
    return (common.pop() or "/") if len(common) == 1 else "/"


def _names(bag: Bag) -> str:
    return ", ".join(sorted(bag.types)) or "none"
