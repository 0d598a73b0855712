"""The start of a policy file for a folder with arbitrary columns; the user fills in the names."""

from __future__ import annotations

from pathlib import Path

SKELETON = """\
# What {folder} does not say about itself; see docs/checkpoints.md.
checkpoint: {folder}
tokenizer: ~/paligemma/tokenizer.model     # tokenizer.model or tokenizer.json
cameras:                                   # the checkpoint's name: your robot's; leave out what it has not
{cameras}
state: {state}
actions:
  names: {actions}
  spaces: {{arm: joint_position, gripper: gripper}}
policy_hz: 50
embodiments: [my_robot]
"""


def skeleton_of(folder: Path, slots: tuple[str, ...], state: int, action: int) -> str:
    """slots: the checkpoint's cameras.

    state, action: widths, 0 if the folder does not state them.
    """
    return SKELETON.format(
        folder=folder,
        cameras="\n".join(f"  {slot}: my_camera_{i}" for i, slot in enumerate(slots)),
        state=f"[{', '.join(f'joint.j{i}' for i in range(state))}]  # {state or '?'} names, in its order",
        actions=f"[{', '.join(f'joint.j{i}' for i in range(action))}]  # {action or '?'} names, in its order",
    )
