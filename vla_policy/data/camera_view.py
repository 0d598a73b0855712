"""Whether a robot's tool, and the object of its task, are inside the image of a camera that stands still."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from vla_policy.embodiment.camera_projection import projected
from vla_policy.embodiment.description import Embodiment, View
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.types import Array


def in_view(view: View, xyz: Array, size: tuple[int, int]) -> bool:
    """Whether the point xyz, m, is in an image of (height, width) pixels."""
    right, down = projected(view, np.reshape(xyz, (1, 3)))[0]
    return bool(abs(down) < 1.0 and abs(right) < size[1] / size[0])


class ViewMeter:
    """Counts the frames of a take in which a tool is outside an image; add() each.

    views: camera -> where it stands, those that are known. Without one, or for a robot whose state has no tool
    poses, nothing is looked at.
    """

    def __init__(self, robot: Embodiment, views: Mapping[str, View]) -> None:
        names = robot.state_names
        own = [n.removesuffix(TOOL_POSE[0]) for n in names if n.endswith(TOOL_POSE[0])]
        self._tools = [[names.index(arm + axis) for axis in TOOL_POSE[:3]] for arm in own]
        self._views = dict(views) if self._tools else {}
        self._outside = dict.fromkeys(self._views, 0)
        self._frames = 0

    def add(self, state: Array, images: Mapping[str, Array]) -> None:
        """state: float[s] of a frame. images: camera -> uint8[h, w, 3]."""
        self._frames += 1
        for camera, view in self._views.items():
            size = images[camera].shape[:2]
            seen = all(in_view(view, state[tool], size) for tool in self._tools)
            self._outside[camera] += not seen

    @property
    def shares(self) -> dict[str, float] | None:
        """camera -> share of the frames in which a tool was outside its image; None: not looked at."""
        if not self._views or not self._frames:
            return None
        return {camera: count / self._frames for camera, count in self._outside.items()}


class TargetMeter:
    """Counts the frames of a take in which the object of the task is outside an image: hear() who knows, add() each frame.

    cameras: those that are told of. A simulation knows it; where nobody does, nothing is said.
    """

    def __init__(self, cameras: Iterable[str]) -> None:
        self._outside = dict.fromkeys(cameras, 0)
        self._now: tuple[str, ...] | None = None
        self._frames = 0

    def hear(self, cameras: tuple[str, ...] | None) -> None:
        """Which of them are without it from now on; None: not known any more."""
        self._now = cameras

    def add(self) -> None:
        """A frame that shows what was heard last."""
        if self._now is None:
            return
        self._frames += 1
        for camera in self._now:
            if camera in self._outside:
                self._outside[camera] += 1

    @property
    def shares(self) -> dict[str, float] | None:
        """camera -> share of the frames of which it is known; None: of none."""
        if not self._frames:
            return None
        return {camera: count / self._frames for camera, count in self._outside.items() if count}
