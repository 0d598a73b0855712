"""Paths of tools as messages that RViz and Foxglove draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from nav_msgs.msg import Path
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from vla_policy.ros.messages.convert import pose_to_msg, stamp_from_ns
from vla_policy.runtime.tool_paths import ToolPath
from vla_policy.types import Array

LINE_M, DOT_M = 0.004, 0.012  # of a path; of its rows
OPEN, CLOSED = (0.1, 0.7, 0.3), (0.9, 0.3, 0.1)  # colours of a row by its gripper
PLAIN = (0.2, 0.5, 0.9)  # of a path without a gripper
LIFETIME_S = 1  # a display forgets what is not published again


def path_msg(path: ToolPath, times_ns: Sequence[int], *, stamp_ns: int, frame_id: str) -> Path:
    """The poses of one tool. times_ns: when each is due."""
    poses = [
        pose_to_msg(pose, stamp_ns=due_ns, frame_id=frame_id)
        for pose, due_ns in zip(path.poses, times_ns, strict=True)
    ]
    return Path(header=Header(stamp=stamp_from_ns(stamp_ns), frame_id=frame_id), poses=poses)


def markers_msg(paths: Sequence[ToolPath], *, stamp_ns: int, frame_id: str) -> MarkerArray:
    """Of each tool a line and a dot for each row, coloured by its gripper. What was drawn before is deleted first."""
    header = Header(stamp=stamp_from_ns(stamp_ns), frame_id=frame_id)
    found = [Marker(header=header, action=Marker.DELETEALL)]
    for path in paths:
        points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in path.poses[:, :3]]
        colours = [_colour(rgb) for rgb in _colours(path)]
        for kind, width in ((Marker.LINE_STRIP, LINE_M), (Marker.SPHERE_LIST, DOT_M)):
            marker = Marker(header=header, ns=path.tool, id=len(found), type=kind)
            marker.points, marker.colors = points, colours
            marker.scale.x = marker.scale.y = marker.scale.z = width
            marker.pose.orientation.w = 1.0
            marker.lifetime = Duration(sec=LIFETIME_S)
            found.append(marker)
    return MarkerArray(markers=found)


def _colours(path: ToolPath) -> Array:
    """float64[n, 3]."""
    if path.openings is None:
        return np.tile(PLAIN, (len(path.poses), 1))
    share = np.clip(np.nan_to_num(path.openings), 0, 1)[:, None]
    mixed: Array = share * np.array(OPEN) + (1 - share) * np.array(CLOSED)
    return mixed


def _colour(rgb: Array) -> ColorRGBA:
    return ColorRGBA(r=float(rgb[0]), g=float(rgb[1]), b=float(rgb[2]), a=1.0)
