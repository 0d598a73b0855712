"""A robot together with the file that describes it, so that findings have a line number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vla_policy.embodiment.description import Embodiment
from vla_policy.embodiment.parse import parse_embodiment
from vla_policy.parsing.fields import Place, read_yaml
from vla_policy.paths import find_embodiment


@dataclass(frozen=True, slots=True)
class EmbodimentFile:
    """robot: as described by the file. place: the top of the file."""

    robot: Embodiment
    place: Place

    def at(self, *keys: str | int) -> Place:
        """The place of a key: at('joints', 'upper', 1)."""
        place = self.place
        for key in keys:
            place = place.at(key)
        return place

    def action_at(self, group: str, *keys: str | int) -> Place:
        """The place of a key of an action group."""
        index = [g.name for g in self.robot.actions].index(group)
        return self.at("actions", index, *keys)

    def pose_at(self, tool: str, key: str) -> Place:
        """The place of a key of a tool's measured pose; with several tools below its name."""
        named = self.at("ee_pose", tool)
        return (named if named.path in self.place.lines else self.at("ee_pose")).at(key)


def read_embodiment_file(name_or_path: str | Path) -> EmbodimentFile:
    """The robot of a shipped name or file. Raises ValueError as load_embodiment does."""
    content, place = read_yaml(find_embodiment(name_or_path))
    return EmbodimentFile(parse_embodiment(content, place), place)
