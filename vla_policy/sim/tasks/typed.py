"""Interprets a sentence typed by a person in a scene of the simulation."""

from __future__ import annotations

import re

import numpy as np

from vla_policy.sim.scenes.scene import DESTINATIONS, Scene, sample_scene
from vla_policy.sim.tasks.references import (
    describe,
    resolve,
)
from vla_policy.sim.tasks.tasks import Task

_FILLERS = r"\b(please|kindly|now|just|robot|hey|could you|can you|would you|will you|for me)\b"


_PICK = r"(?:pick up|lift up|hold up|pick|lift|grab|take|grasp|get|fetch|raise|i want)"


_PUT = r"(?:put|place|drop|set|move|bring|lay|carry|deposit|transfer|i want)"


_PUSH = r"(?:push|slide|drag|shove|nudge|scoot)"


_AWAY = r"(?: over| across| along the table| down)*"


_INTO = r"(?:on top of|into|inside|onto|towards|toward|in|on|to)"


def parse_task(instruction: str, scene: Scene, xyz: np.ndarray | None = None) -> Task:
    """Interpret a typed sentence in scene.

    Case, punctuation, "please" and articles are ignored. Raises ValueError with one helpful
    sentence if words are unknown or the object is ambiguous.
    """
    text = re.sub(r"[^a-z ]", " ", instruction.lower().replace("'", ""))
    text = " ".join(re.sub(_FILLERS, " ", text).split())
    if not text:
        raise ValueError("the instruction is empty; say for example 'pick up the red cube'")
    family, phrase, destination = _split_sentence(text, scene)
    phrase = re.sub(r"^(the|a|an) ", "", phrase.strip())
    found = resolve(phrase, scene, xyz)
    if family not in scene.twin.families or found.kind not in scene.twin.kinds:
        raise ValueError(
            f"{scene.robot} is told {' or '.join(scene.twin.families)}, "
            f"and objects by {', '.join(scene.twin.kinds)}; {describe(scene)}"
        )
    if family == "push" and destination != "pad":
        raise ValueError("an object can only be pushed to the pad, the tray has a rim")
    sentence = " ".join(instruction.split())
    target, anchor = found.target, found.anchor
    return Task(family, sentence, target, anchor, destination, found.kind, found.phrase)


def _split_sentence(text: str, scene: Scene) -> tuple[str, str, str | None]:
    """(family, object phrase, destination) of a cleaned sentence."""
    goal = rf"{_AWAY} {_INTO} (?:the )?({'|'.join(DESTINATIONS)})"
    both = re.fullmatch(rf"{_PICK} (.+?)(?: up)? and (?:{_PUT}|{_PUSH}) it{goal}", text)
    if both:
        family = "push" if re.search(rf"\band {_PUSH} it\b", text) else "put"
        return family, both.group(1), both.group(2)
    moved = re.fullmatch(rf"({_PUT}|{_PUSH}) (.+?){goal}", text)
    if moved and not re.search(r"(nearest|closest|farthest|furthest)$", moved.group(2)):
        family = "push" if re.fullmatch(_PUSH, moved.group(1)) else "put"
        return family, moved.group(2), moved.group(3)
    picked = re.fullmatch(rf"{_PICK} (.+?)(?: up)?", text)
    if picked:
        return "pick", picked.group(1), None
    if re.match(rf"(?:{_PUT}|{_PUSH}) ", text):
        raise ValueError(f"where to? say 'in the tray' or 'on the pad'; {describe(scene)}")
    touched = re.fullmatch(r"(?:touch|tap) (.+)", text)
    if touched:
        return "touch", touched.group(1), None
    raise ValueError(
        "not understood; say 'pick up ...', 'put ... in the tray', 'put ... on the pad' or "
        f"'push ... to the pad'; {describe(scene)}"
    )


TRIES = 200


def find_scene(instruction: str, first_seed: int = 0, *, robot: str = "vx300s") -> tuple[int, str]:
    """(seed, split) of the first scene, from first_seed on, with the objects of the instruction.

    robot: name of the simulated robot. The split "unseen_pairs" is searched only if training
    scenes never match. Raises ValueError with the first scene's sentence if no scene matches.
    """
    refusal: ValueError | None = None
    for split in ("train", "unseen_pairs"):
        for seed in range(first_seed, first_seed + TRIES):
            try:
                parse_task(instruction, sample_scene(seed, split=split, robot=robot))
            except ValueError as error:
                refusal = refusal or error
                continue
            return seed, split
    raise ValueError(f"{instruction!r}: {refusal}") from refusal
