"""A data set in words, for a person."""

from __future__ import annotations

from collections import Counter
from typing import Any

from vla_policy.data.lerobot.reader import DataSet


def summarise(data: DataSet, *, most: int | None) -> list[str]:
    """Lines about a set. most: how many episodes are listed; None: all."""
    seconds = len(data) / data.fps
    said = Counter(
        {True: "success", False: "failure", None: "not judged"}[data.success(e)]
        for e in range(len(data.entries))
    )
    lines = [
        f"{data.root}: LeRobot {data.version}, robot {data.robot_type or 'not named'}, {data.fps} frames/s",
        f"{len(data.entries)} episodes, {len(data)} frames, {seconds / 60:.1f} min; "
        + (", ".join(f"{n} {word}" for word, n in said.items()) or "none yet"),
        *(f"camera {c}: {_camera(data, c)}" for c in data.cameras),
        *(f"camera {name}: depth, not read" for name in data.depth_cameras),
        f"state ({len(data.state_names)}): {', '.join(data.state_names)}",
        f"action ({len(data.action_names)}): {', '.join(data.action_names)}",
        *(f"task {i}: {task}" for i, task in enumerate(data.tasks)),
    ]
    shown = data.entries if most is None else data.entries[:most]
    for entry in shown:
        judged = {True: "success", False: "failure", None: ""}[data.success(entry.index)]
        words = [
            f"{entry.length} frames",
            f"{entry.length / data.fps:.1f} s",
            judged,
            data.task(entry.index),
        ]
        lines.append(f"episode {entry.index}: {', '.join(w for w in words if w)}")
    if len(shown) < len(data.entries):
        lines.append(f"... and {len(data.entries) - len(shown)} more; --all lists them")
    return lines


def document(data: DataSet) -> dict[str, Any]:
    """The same as JSON values, with every episode; success: None where nobody judged."""
    return {
        "version": data.version,
        "robot": data.robot_type,
        "fps": data.fps,
        "cameras": list(data.cameras),
        "episodes": [
            {
                "episode": entry.index,
                "seconds": round(entry.length / data.fps, 1),
                "task": data.task(entry.index),
                "success": data.success(entry.index),
            }
            for entry in data.entries
        ],
    }


def _camera(data: DataSet, camera: str) -> str:
    feature = data.features[data.camera_features[camera]]
    shape = feature["shape"]
    height, width = shape[:2] if shape[-1] in (3, 4) else shape[1:]
    said = (feature.get("info") or {}).get("video.codec", "")
    return f"{width} x {height}, {feature['dtype']}" + (f" {said}" if said else "")
