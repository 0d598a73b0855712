"""The simulated scene of a demonstration: its seed and split.

A real robot's episodes have none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class DrawnScene:
    """seed, split: of the scene, the latter as the simulation's parameter."""

    seed: int
    split: str


def text_of_scene(scene: DrawnScene) -> str:
    """In the form stored in a bag."""
    return json.dumps(asdict(scene))


def scene_of_text(text: str) -> DrawnScene | None:
    """None for '' and for invalid text."""
    try:
        return scene_of(json.loads(text)) if text else None
    except ValueError:
        return None


def scene_of(found: Any) -> DrawnScene | None:
    """From an episode's file; None for anything else."""
    seed, split = (found.get("seed"), found.get("split")) if isinstance(found, dict) else ("", "")
    if not isinstance(seed, int) or not isinstance(split, str):
        return None
    return DrawnScene(seed, split)
