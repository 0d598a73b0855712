"""Whether a robot's tool and the object of its task are inside the image of a fixed camera."""

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

    views: camera -> its pose, the known ones. Without any, or for a robot whose state has no tool
    poses, nothing is checked.
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
        """camera -> share of the frames with a tool outside its image; None: not checked."""
        if not self._views or not self._frames:
            return None
        return {camera: count / self._frames for camera, count in self._outside.items()}


class TargetMeter:
    """Counts the frames of a take in which the object of the task is outside an image.

    hear() sets who sees it, add() counts each frame. cameras: those that are reported. Only a
    simulation knows this; otherwise the result is None.
    """

    def __init__(self, cameras: Iterable[str]) -> None:
        self._outside = dict.fromkeys(cameras, 0)
        self._now: tuple[str, ...] | None = None
        self._frames = 0

    def hear(self, cameras: tuple[str, ...] | None) -> None:
        """The cameras without it from now on; None: unknown again."""
        self._now = cameras

    def add(self) -> None:
        """Count a frame with the value of the last hear()."""
        if self._now is None:
            return
        self._frames += 1
        for camera in self._now:
            if camera in self._outside:
                self._outside[camera] += 1

    @property
    def shares(self) -> dict[str, float] | None:
        """camera -> share of the frames with a known value; None: without any."""
        if not self._frames:
            return None
        return {camera: count / self._frames for camera, count in self._outside.items() if count}
