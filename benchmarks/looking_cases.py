"""Scenes, and sentences about what is in them and what is not: made from numbers alone, the same everywhere.

The scenes' seeds are no others': training draws from 600,000 on, the least scores from 700,000 on.

    python benchmarks/looking_cases.py --out benchmarks/sentences_looking.json

writes sentences for a running twin (benchmarks/sentences.py): of each of SCENES scenes one of each kind of what is not there,
and sensible ones.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vla_policy.sim.scenes.scene import COLOURS, SHAPES, Scene, sample_scene
from vla_policy.sim.tasks.tasks import sample_task

FIRST = 800_000  # first seed of the scenes
SPLITS = ("train", "unseen_pairs", "moved_camera", "other_table")  # drawn in turn
THERE = ("pair", "sentence")
ABSENT = {
    "colour": "a colour that is not there, with a shape",
    "colour_alone": "a colour that is not there, without a shape",
    "pair_colour_there": "its colour is there, in another shape",
    "pair_shape_there": "its shape is there, in another colour",
    "pair_both_there": "its colour is there in another shape, its shape in another colour",
    "shape_alone": "a shape that is not there, without a colour",
}
KINDS = THERE + tuple(ABSENT)
# For a running twin: scenes of their own, and what is asked of what is not there.
TWIN_FIRST, SCENES = 810_000, 20
TWIN_KINDS = ("colour", "pair_colour_there", "pair_shape_there", "pair_both_there", "shape_alone")
ASKED = ("pick up the {}", "put the {} in the tray", "Lift the {}.", "put the {} on the pad", "please push the {} to the pad")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """A sentence about the scene of seed and split. things: (colour, shape) that it names; None: any.

    kind: one of KINDS; those of THERE name what is there. target: of a sentence about a thing there, its number.
    """

    robot: str
    seed: int
    split: str
    kind: str
    sentence: str
    target: int | None = None

    @property
    def there(self) -> bool:
        """Whether what it names is there."""
        return self.kind in THERE


def cases_of(robot: str, scenes: int, *, first: int = FIRST) -> list[Case]:
    """A sentence of each kind, where the scene has such a thing, about each of scenes of all splits in turn."""
    cases = []
    for i in range(scenes):
        split = SPLITS[i % len(SPLITS)]
        scene = sample_scene(first + i, split=split, robot=robot)
        rng = np.random.default_rng([first + i, 11])
        for kind, sentence, target in _sentences(scene, rng):
            cases.append(Case(robot, first + i, split, kind, sentence, target))
    return cases


def absent_things(scene: Scene) -> dict[str, list[str]]:
    """Names of things that are not there, by kind of ABSENT; one thing can be of several kinds."""
    pairs = {(o.colour, o.shape) for o in scene.objects}
    colours, shapes = {c for c, _ in pairs}, {s for _, s in pairs}
    absent = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in pairs]
    return {
        "colour": [f"{c} {s}" for c, s in absent if c not in colours],
        "colour_alone": [f"{c} one" for c in COLOURS if c not in colours],
        "pair_colour_there": [f"{c} {s}" for c, s in absent if c in colours],
        "pair_shape_there": [f"{c} {s}" for c, s in absent if s in shapes],
        "pair_both_there": [f"{c} {s}" for c, s in absent if c in colours and s in shapes],
        "shape_alone": [s for s in SHAPES if s not in shapes],
    }


def fingerprint(cases: Iterable[Case]) -> str:
    """sha256 of the cases and of all numbers of their scenes."""
    found = hashlib.sha256()
    drawn = cache(sample_scene)
    for case in cases:
        scene = drawn(case.seed, split=case.split, robot=case.robot)
        found.update(json.dumps([asdict(case), asdict(scene)], sort_keys=True).encode())
    return found.hexdigest()


def twin_cases(scenes: int, *, sensible: int = 3) -> list[dict[str, Any]]:
    """Sentences as benchmarks/sentences.py takes them, in scenes as the twin of vx300s draws them."""
    cases: list[dict[str, Any]] = []
    for seed in range(TWIN_FIRST, TWIN_FIRST + scenes):
        scene = sample_scene(seed)
        rng = np.random.default_rng([seed, 11])
        absent = absent_things(scene)
        for kind in TWIN_KINDS:
            if absent[kind]:
                name = absent[kind][rng.integers(len(absent[kind]))]
                said = ASKED[len(cases) % len(ASKED)].format(name)
                cases.append({"sentence": said, "expect": "refuse", "seed": seed, "kind": kind})
        for _ in range(sensible):
            task = sample_task(scene, rng, feasible=True)
            cases.append({"sentence": task.instruction, "expect": "move", "seed": seed, "kind": "there"})  # fmt: skip
    return cases


def _sentences(scene: Scene, rng: np.random.Generator) -> Iterable[tuple[str, str, int | None]]:
    target = int(rng.integers(len(scene.objects)))
    yield "pair", f"pick up the {scene.objects[target].name}", target
    task = sample_task(scene, rng)
    yield "sentence", task.instruction, task.target
    for kind, names in absent_things(scene).items():
        if names:
            yield kind, f"pick up the {names[rng.integers(len(names))]}", None


def main() -> int:
    """Write the sentences for a running twin."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.write_text(json.dumps(twin_cases(args.scenes), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
