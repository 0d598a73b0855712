"""The short films of docs/gallery.md: a shipped policy in the simulated twin, judged by physics.

    python tools/gallery.py                # all of them, into docs/images/gallery
    python tools/gallery.py tiny_put       # one

The film is of the overview camera at 320 x 240, which the policy does not see, twice as fast as it happened; scenes are those of `vla evaluate`, which training never drew.
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.closed_loop import Pace
from vla_policy.evaluate.expert_policy import ExpertPolicy
from vla_policy.evaluate.rollout import roll_out
from vla_policy.evaluate.suites import SUITES, trial
from vla_policy.policy import load_policy
from vla_policy.sim.world.world import OVERVIEW, World

ROOT = Path(__file__).resolve().parent.parent
SIZE = (320, 240)
EVERY = 10  # steps of 20 ms between two frames
FRAME_MS = 100
QUALITY = 55


@dataclass(frozen=True)
class Film:
    """Which policy in which trial of `vla evaluate --seed 0`."""

    policy: str
    robot: str
    suite: str
    index: int
    head: "str | None" = None


FILMS = {
    "tiny_put": Film("tiny", "vx300s", "pick_put", 1, "flow"),
    "tiny_token": Film("tiny", "vx300s", "pick_put", 2, "token"),
    "tiny_comparative": Film("tiny", "vx300s", "comparative", 0, "flow"),
    "tiny_push": Film("tiny", "vx300s", "push", 0, "flow"),
    "cross_pair": Film("tiny_cross", "vx300s_pair", "pick_put", 0, "flow"),
    "cross_mobile": Film("tiny_cross", "vx300s_mobile", "pick_put", 0, "flow"),
    "failure": Film("tiny", "vx300s", "unseen_pairs", 19, "token"),
}


@dataclass
class Filmed:
    """A world that keeps a picture of every tenth step, and is the world otherwise."""

    world: World
    camera: str
    frames: list[np.ndarray] = field(default_factory=list)
    _steps: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)

    def step(self) -> None:
        self.world.step()
        if self._steps % EVERY == 0:
            self.frames.append(self.world.render(self.camera, *SIZE))
        self._steps += 1


def film(name: str, renderer: str, folder: Path) -> str:
    """Make one film; what became of it, as a sentence."""
    shot = FILMS[name]
    scene, task = trial(SUITES[shot.suite], 0, shot.index, robot=shot.robot)
    robot = load_embodiment(shot.robot)
    policy = (
        ExpertPolicy()
        if shot.policy == "expert"
        else load_policy(shot.policy, embodiment=shot.robot, head=shot.head)
    )
    inner = World(renderer=renderer, robot=shot.robot)
    world: Any = Filmed(inner, OVERVIEW)
    result = roll_out(policy, world, scene, task, embodiment=robot, pace=Pace(), moves=True)
    inner.close()
    first, *rest = (Image.fromarray(frame) for frame in [*world.frames, *world.frames[-1:] * 8])
    path = folder / f"{name}.webp"
    first.save(
        path,
        save_all=True,
        append_images=rest,
        duration=FRAME_MS,
        loop=0,
        quality=QUALITY,
        method=6,
    )
    verdict = "done" if result.success else result.failure
    return f"{name}: {task.instruction}: {verdict}, {result.seconds:.1f} s; {path.stat().st_size // 1000} kB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("films", nargs="*", help=f"of {', '.join(FILMS)}; none: all")
    parser.add_argument("--renderer", default="auto")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "gallery")
    args = parser.parse_args()
    if unknown := set(args.films) - set(FILMS):
        parser.error(f"got {', '.join(unknown)}, expected of {', '.join(FILMS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.films or FILMS:
        print(film(name, args.renderer, args.out), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
