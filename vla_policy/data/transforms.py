"""The pose of one frame in another, from the messages of /tf and /tf_static, by the rules of tf2.

The result is of the newest time at which every link of the chain is known. Between two samples a
link is interpolated: linearly in position, by the shorter rotation. Nothing is extrapolated.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from vla_policy.geometry.quaternions import (
    CONJUGATE,
    quaternion_multiply,
    turn_between,
    turned,
)
from vla_policy.geometry.rotation_formats import rotate
from vla_policy.runtime.poses import unit_pose
from vla_policy.types import Array

TF, TF_STATIC, TF_TYPE = "/tf", "/tf_static", "tf2_msgs/msg/TFMessage"
KEPT_NS = 10_000_000_000  # history of each link, as in tf2
DEEPEST = 100  # links of a chain; more indicate a cycle


@dataclass(frozen=True, slots=True)
class Link:
    """One transform: pose float64[7] x y z qx qy qz qw of child in parent, at stamp_ns."""

    parent: str
    child: str
    stamp_ns: int
    pose: Array

    def checked(self) -> Link:
        """The link with a unit quaternion. Raises ValueError for an invalid transform."""
        said = f"tf: {self.child!r} in {self.parent!r}"
        if not self.child or self.child == self.parent:
            raise ValueError(f"{said}: expected two frames with different names")
        return replace(self, pose=unit_pose(self.pose, "", "", said))


@dataclass(slots=True)
class _Track:
    """The samples of one child in one parent, by stamp. is_static: it is valid at every time."""

    parent: str
    is_static: bool
    stamps: list[int] = field(default_factory=list)
    poses: list[Array] = field(default_factory=list)

    def add(self, link: Link) -> None:
        if self.is_static:
            self.stamps, self.poses = [link.stamp_ns], [link.pose]
            return
        place = bisect_right(self.stamps, link.stamp_ns)
        if place and self.stamps[place - 1] == link.stamp_ns:
            return  # of two with the same stamp the first counts
        self.stamps.insert(place, link.stamp_ns)
        self.poses.insert(place, link.pose)
        old = bisect_right(self.stamps, self.stamps[-1] - KEPT_NS)
        del self.stamps[:old], self.poses[:old]

    def at(self, stamp_ns: int) -> Array | None:
        """The pose at a time; None where it would have to be extrapolated."""
        if self.is_static:
            return self.poses[0]
        place = bisect_right(self.stamps, stamp_ns)
        if place and self.stamps[place - 1] == stamp_ns:
            return self.poses[place - 1]
        if not 0 < place < len(self.stamps):
            return None
        before, after = self.poses[place - 1], self.poses[place]
        first, last = self.stamps[place - 1], self.stamps[place]
        share = (stamp_ns - first) / (last - first)
        turn = turned(before[3:], share * turn_between(before[3:], after[3:]))
        return np.concatenate((before[:3] + share * (after[:3] - before[:3]), turn))


class Transforms:
    """All received links."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}

    def add(self, links: Iterable[Link], *, is_static: bool) -> str:
        """Add the links of one message; why some were refused, '' if none was.

        A frame with a new parent starts again.
        """
        problem = ""
        for said in links:
            try:
                link = said.checked()
            except ValueError as error:
                problem = problem or str(error)
                continue
            track = self._tracks.get(link.child)
            if track is None or (track.parent, track.is_static) != (link.parent, is_static):
                track = self._tracks[link.child] = _Track(link.parent, is_static)
            track.add(link)
        return problem

    def forget(self) -> None:
        """Forget all moving links, after the clock jumped. Static ones are sent only once."""
        self._tracks = {child: track for child, track in self._tracks.items() if track.is_static}

    def newest(self, base: str, frame: str) -> tuple[int, Array] | None:
        """(stamp, pose float64[7]) of frame in base; None without all links or a common time.

        Raises ValueError if all links of the chain are static: then it has no time.
        """
        up, down = self._way(frame), self._way(base)
        common = next((name for name in down if name in up), None)
        if common is None:
            return None
        rise = [self._tracks[name] for name in up[: up.index(common)]]
        fall = [self._tracks[name] for name in down[: down.index(common)]]
        times = [track.stamps[-1] for track in (*rise, *fall) if not track.is_static]
        if not times:
            raise ValueError(
                f"tf: {frame!r} never moves in {base!r}; is it the frame of the tool?"
            )
        stamp_ns = min(times)
        frame_pose, base_pose = _along(rise, stamp_ns), _along(fall, stamp_ns)
        if frame_pose is None or base_pose is None:
            return None
        back = base_pose[3:] * CONJUGATE
        turn = quaternion_multiply(back, frame_pose[3:])
        place = rotate(back, frame_pose[:3] - base_pose[:3])
        return stamp_ns, np.concatenate((place, turn / np.linalg.norm(turn)))

    def _way(self, frame: str) -> list[str]:
        """The frames from one to its root. Raises ValueError for a cycle."""
        found = [frame]
        while (track := self._tracks.get(found[-1])) is not None:
            found.append(track.parent)
            if len(found) > DEEPEST:
                raise ValueError(f"tf: the frames above {frame!r} are a circle")
        return found


def _along(links: Iterable[_Track], stamp_ns: int) -> Array | None:
    """The first link's child in the last one's parent; None if a link is unknown then."""
    pose = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    for link in links:
        step = link.at(stamp_ns)
        if step is None:
            return None
        turn = quaternion_multiply(step[3:], pose[3:])
        pose = np.concatenate((step[:3] + rotate(step[3:], pose[:3]), turn))
    return pose
