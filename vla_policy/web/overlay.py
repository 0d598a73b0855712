"""Overlays on the camera images: the planned path of each tool and the point of the policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vla_policy.embodiment import View
from vla_policy.embodiment.camera_projection import projected
from vla_policy.runtime.tool_paths import ToolPath
from vla_policy.types import Array

DIGITS = 4  # a ten-thousandth of an image is less than a pixel


def paths_over(views: Mapping[str, View], paths: Sequence[ToolPath]) -> dict[str, list[Any]]:
    """camera -> [{tool, at, open}] as JSON values, for cameras of known pose in the base frame.

    at: [right, down] of each row, see projected; None if it is not in front of the camera.
    open: of each row from 0, closed, to 1; None for a tool without a gripper.
    """
    return {
        camera: [
            {"tool": path.tool, "at": _places(view, path.poses[:, :3]), "open": _openings(path)}
            for path in paths
        ]
        for camera, view in views.items()
    }


def place_over(views: Mapping[str, View], xyz: Array) -> dict[str, Any]:
    """camera -> [right, down] of xyz, m in the base frame; None if it is not in front of it."""
    return {camera: _places(view, np.reshape(xyz, (1, 3)))[0] for camera, view in views.items()}


def _places(view: View, xyz: Array) -> list[list[float] | None]:
    return [
        [round(float(right), DIGITS), round(float(down), DIGITS)]
        if np.isfinite(right + down)
        else None
        for right, down in projected(view, xyz)
    ]


def _openings(path: ToolPath) -> list[float] | None:
    if path.openings is None:
        return None
    return [round(float(value), 2) for value in np.clip(np.nan_to_num(path.openings), 0, 1)]
