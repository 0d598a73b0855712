"""Where the cameras of a robot stand, of those that stand still in its base frame."""

from __future__ import annotations

from vla_policy.embodiment import Embodiment, View
from vla_policy.sim.twin import TWINS, TwinCamera, find_twin

OVERVIEW = "overview"


def known_views(robot: Embodiment, *, simulated: bool) -> dict[str, View]:
    """camera -> its place, as the robot's file says it, or of a simulated robot the twin; moving cameras have none."""
    found = {name: c.view for name, c in robot.cameras.items() if c.view is not None}
    if not simulated or robot.name not in TWINS:
        return found
    twin = find_twin(robot.name)
    found["front"] = _view(twin.front)
    if not twin.drives:  # else the base moves before it
        found[OVERVIEW] = _view(twin.overview)
    return found


def _view(camera: TwinCamera) -> View:
    return View(camera.position, camera.target, camera.fovy_deg, camera.up)
