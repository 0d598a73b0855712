"""Recovery after a killed recorder: decided changes are completed, others dropped."""

from __future__ import annotations

import shutil
from pathlib import Path

from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.durable import lock_folder
from vla_policy.data.lerobot.transaction import READY, finish


def recover(root: Path) -> list[str]:
    """Recover the set below root; returns what was done, in sentences.

    Raises Busy while another process records into it.
    """
    if not (root / layout.STAGING).is_dir():
        return []
    with lock_folder(root / layout.STAGING):
        return recover_locked(root)


def recover_locked(root: Path) -> list[str]:
    """recover for a caller that has locked the folder."""
    told = []
    if done := finish(root):
        told.append(f"{root}: {done}; it was decided when the process before ended")
    shutil.rmtree(root / layout.STAGING / READY, ignore_errors=True)  # undecided changes
    take = root / layout.STAGING / "take"
    if take.is_dir():
        files = sorted(p.name for p in take.iterdir())
        shutil.rmtree(take)
        if files:
            told.append(
                f"{root}: an episode that was not saved was dropped ({', '.join(files)}); its bag, if there is one, has it"
            )
    return told
