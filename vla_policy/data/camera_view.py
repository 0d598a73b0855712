"""Whether a robot's tool and the object of its task are inside the image of a fixed camera."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from vla_policy.embodiment.camera_projection import projected
from vla_policy.embodiment.description import Embodiment, View
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.timing import ns_from_s
from vla_policy.types import Array

POINTED_NS = ns_from_s(2.0)  # a place that a policy pointed to longer ago says nothing
POINTED_SHARE = 0.5  # of the frames that must have a place


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


class PointedMeter:
    """Counts the frames of a take in which the place that a policy points to is outside an image.

    For a robot without a simulation, where only the policy tells where it sees what the
    instruction names. hear() sets the place, add() counts each frame. views: camera -> its pose.
    """

    def __init__(self, views: Mapping[str, View]) -> None:
        self._views = dict(views)
        self._outside = dict.fromkeys(self._views, 0)
        self._place: tuple[int, Array] | None = None
        self._frames = self._known = 0

    def hear(self, xyz: Array | None, stamp_ns: int) -> None:
        """xyz: float64[3] m, base frame, as seen at stamp_ns; None: unknown again."""
        self._place = None if xyz is None else (stamp_ns, xyz)

    def add(self, stamp_ns: int, images: Mapping[str, Array]) -> None:
        """images: camera -> uint8[h, w, 3] of the frame at stamp_ns."""
        self._frames += 1
        if self._place is None or abs(stamp_ns - self._place[0]) > POINTED_NS:
            return
        self._known += 1
        for camera, view in self._views.items():
            self._outside[camera] += not in_view(view, self._place[1], images[camera].shape[:2])

    @property
    def shares(self) -> dict[str, float] | None:
        """camera -> share of the frames with a place that have it outside; None: too few have one."""
        if not self._views or not self._known or self._known < POINTED_SHARE * self._frames:
            return None
        return {camera: count / self._known for camera, count in self._outside.items()}
