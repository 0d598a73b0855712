"""One image of a failed trial: the scene as the policy saw it first, and its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_policy.evaluate.rollout import TrialResult
from vla_policy.evaluate.video import Strip, contact_sheet, write_png
from vla_policy.sim.scenes.scene import Scene
from vla_policy.sim.world.world import OVERVIEW, World

WIDTH_PX, HEIGHT_PX = 384, 288


def write_failure(path: Path, world: World, scene: Scene, outcome: TrialResult) -> None:
    """For a trial that has just ended in world, which is then reset to scene."""
    end = world.render(OVERVIEW, WIDTH_PX, HEIGHT_PX)
    world.reset(scene)
    front = world.render("front", HEIGHT_PX, HEIGHT_PX)
    start = np.pad(front, ((0, 0), (0, WIDTH_PX - HEIGHT_PX), (0, 0)))
    title = f"{outcome.instruction}: {outcome.failure}; {outcome.detail}"
    strip = Strip(title, outcome.success, (start, end))
    write_png(path, contact_sheet([strip], columns=2, width_px=WIDTH_PX))
