"""Evaluation suites: their scenes and tasks, all drawn from the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_policy.sim.scenes.scene import HELD_OUT_PAIRS, Scene, new_object, sample_scene
from vla_policy.sim.tasks.references import KINDS, all_references
from vla_policy.sim.tasks.tasks import Task, phrase_task, sample_task
from vla_policy.sim.twin import find_twin

FIRST_SEED = 1_000_000  # training scenes have smaller seeds
SEEDS_PER_RUN = 10_000
_TRIES = 50


@dataclass(frozen=True, slots=True)
class Suite:
    """families and kinds are used in turn.

    moves: False evaluates only the first pointing result.
    """

    name: str
    says: str
    families: tuple[str, ...] = ("pick", "put")
    kinds: tuple[str, ...] = ("colour", "shape")
    split: str = "train"
    paraphrases: str = "seen"
    swap: bool = False
    moves: bool = True


SUITES = {
    suite.name: suite
    for suite in (
        Suite("pick_put", "pick and put, by colour and shape"),
        Suite("comparative", "pick and put, by size and relation", kinds=("size", "relation")),
        Suite("push", "push to the pad, by colour and shape", families=("push",)),
        Suite("swap", "the scenes of pick_put, another object named", swap=True),
        Suite("paraphrase", "verbs that were never trained", paraphrases="unseen"),
        Suite("unseen_pairs", "colour-shape pairs that were never trained", split="unseen_pairs"),
        Suite(
            "new_object",
            "an object of a colour that was never trained, among others of its shape",
            kinds=("colour",),
            split="new_object",
        ),
        Suite(
            "touch",
            "touch from above, by colour and shape: a task that the shipped policies were never taught",
            families=("touch",),
        ),
        Suite("moved_camera", "front camera further off than trained", split="moved_camera"),
        Suite("other_table", "table colours that were never trained", split="other_table"),
        Suite("first_frame", "which object it looks at first", kinds=KINDS, moves=False),
    )
}


def trial(suite: Suite, seed: int, index: int, *, robot: str = "vx300s") -> tuple[Scene, Task]:
    """Scene and task number index of a run with seed 0, 1, ...; deterministic.

    If a scene has no task of the wanted kind the next scene is drawn; see _TRIES.
    Raises ValueError for a seed or index outside the range of evaluation scenes.
    """
    if not (0 <= seed <= 99 and 0 <= index < SEEDS_PER_RUN // _TRIES * 10):
        raise ValueError(f"trial: got seed {seed}, index {index}, expected 0..99 and 0..1999")
    family = suite.families[index % len(suite.families)]
    kind = suite.kinds[index // len(suite.families) % len(suite.kinds)]
    twin = find_twin(robot)
    if family not in twin.families or kind not in twin.kinds:
        raise ValueError(
            f"suite {suite.name}: {family} by {kind}, but {robot} is told "
            f"{', '.join(twin.families)} by {', '.join(twin.kinds)}"
        )
    for attempt in range(_TRIES):
        # 2000 trials fit below the stride of a further attempt.
        scene_seed = FIRST_SEED + (seed * _TRIES + attempt) * SEEDS_PER_RUN + index
        scene = sample_scene(scene_seed, split=suite.split, robot=robot)
        rng = np.random.default_rng([scene_seed, 1])
        try:
            task = sample_task(
                scene,
                rng,
                family,
                kind,
                paraphrases=suite.paraphrases,
                target=_target(suite, scene),
            )
        except ValueError:
            continue
        return scene, _other(scene, task, rng) if suite.swap else task
    raise ValueError(f"suite {suite.name}: no {family} by {kind} in {_TRIES} scenes")


def _target(suite: Suite, scene: Scene) -> int | None:
    """In unseen_pairs and new_object the named object is the unseen one."""
    if suite.split == "new_object":
        return new_object(scene)
    if suite.split != "unseen_pairs":
        return None
    return next(i for i, o in enumerate(scene.objects) if (o.colour, o.shape) in HELD_OUT_PAIRS)


def _other(scene: Scene, task: Task, rng: np.random.Generator) -> Task:
    """The same family and destination, another object by its colour and shape."""
    others = [i for i in range(len(scene.objects)) if i != task.target]
    target = others[rng.integers(len(others))]
    names = [r for r in all_references(scene) if r.kind == "colour" and r.target == target]
    return phrase_task(task.family, names[rng.integers(len(names))], task.destination, rng)
