"""The contract of a policy trained on a set, as `vla check checkpoint` accepts it."""

from __future__ import annotations

from pathlib import Path

from vla_policy.checkpoint.contract import Contract
from vla_policy.train.set_options import DEFAULTS, SetOptions
from vla_policy.train.training_set import open_source, robot_of_source


def contract_of_set(
    root: Path | str,
    *,
    image_px: int,
    options: SetOptions = DEFAULTS,
    model_action_names: tuple[str, ...] | None = None,
) -> Contract:
    """The contract for the robot of a set: its state, actions, rate, and cameras in the set.

    image_px: of the network. model_action_names: the network's columns; None: the robot's own.
    Raises FileNotFoundError, or ValueError for a set without a robot's name or any of its cameras.
    """
    source = open_source(Path(root), options)
    robot = robot_of_source(source, options)
    cameras = tuple(c for c in robot.camera_names if options.cameras.get(c, c) in source.cameras)
    if not cameras:
        raise ValueError(
            f"{source.label}: got the cameras {', '.join(source.cameras) or 'none'}, expected some of "
            f"{', '.join(robot.camera_names)} of robot {robot.name!r}; say which is which, `cameras: {{...}}`"
        )
    return Contract(
        camera_names=cameras,
        image_px=image_px,
        state_names=tuple(robot.state_names),
        action_names=tuple(robot.action_names),
        model_action_names=model_action_names or tuple(robot.action_names),
        spaces=tuple((g.name, g.space) for g in robot.actions),
        policy_hz=float(robot.policy_hz),
        embodiments=(robot.name,),
    )
