"""`python -m vla_policy.train.tiny.language`: writes the sentences that a checkpoint was trained on beside its weights.

The sentences are those of the demonstrations (sim/tasks/tasks.py, sim/tasks/references.py) of the checkpoint's robots.
Before the file is written, SENTENCES drawn sentences must each be read as themselves.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from vla_policy.families.language import FILE, Language, Understood, from_dict, heard, to_dict
from vla_policy.parsing.json_document import write_json
from vla_policy.sim.scenes.scene import COLOURS, SHAPES, sample_scene
from vla_policy.sim.tasks.references import ANY_WORDS, SHAPE_WORDS
from vla_policy.sim.tasks.tasks import sample_task
from vla_policy.sim.twin import find_twin

SENTENCES = 2000

CLASSES = {
    "pick": ["pick up", "lift", "lift up", "grab", "take", "grasp", "get"],
    "put": ["put", "place", "drop", "set", "move", "bring", "lay"],
    "push": ["push", "slide", "drag", "shove"],
    "in_tray": ["in", "into", "inside", "to"],
    "on_pad": ["on", "onto", "on top of", "to"],
    "to_pad": ["to", "onto", "over to", "along the table to"],
    "colour": list(COLOURS),
    "shape": [word for words in SHAPE_WORDS.values() for word in words],
    "any": list(ANY_WORDS),
    "size": ["smallest", "largest", "biggest"],
    "side": ["left of", "right of", "to the left of", "to the right of"],
    "near": ["nearest to", "closest to", "farthest from", "furthest from"],
    "place": ["tray", "pad"],
}
_SIDES = {
    heard: f"{side} of"
    for side in ("left", "right")
    for heard in (
        f"on {side} of", f"at {side} of", f"{side} side of", f"on {side} side of",
        f"to {side} side of", f"{side} hand side of", f"on {side} hand side of",
    )
}  # fmt: skip
# Other common phrasings in trained words; checked in closed loop by the suite paraphrase.
SYNONYMS = {
    "pick": {
        "fetch": "pick up", "raise": "pick up", "raise up": "pick up", "hold up": "pick up",
        "i want": "pick up", "i need": "pick up", "i would like": "pick up", "id like": "pick up",
        "pick": "pick up", "grab hold of": "grab", "take hold of": "take", "collect": "pick up",
        "retrieve": "get", "hoist": "lift", "elevate": "lift", "seize": "grab", "grip": "grasp",
        "clutch": "grasp", "take up": "take", "gather": "pick up", "gather up": "pick up",
        "snatch": "grab", "scoop up": "pick up", "hold": "pick up",
    },
    "put": {
        "carry": "bring", "deposit": "put", "transfer": "move", "i want": "put", "i need": "put",
        "i would like": "put", "id like": "put", "put down": "put", "set down": "set",
        "lay down": "lay", "place down": "place", "transport": "bring", "relocate": "move",
        "position": "place", "insert": "put", "stick": "put", "pop": "put", "deliver": "bring",
        "take": "bring", "stow": "put", "store": "put",
    },
    "push": {
        "nudge": "push", "scoot": "push", "pull": "drag", "shift": "push", "slip": "slide",
        "sweep": "push", "glide": "slide",
    },
    "in_tray": {
        "on": "in", "onto": "into", "on top of": "in", "over to": "to", "towards": "to",
        "toward": "to", "within": "inside", "in to": "into", "down in": "in", "over into": "into",
    },
    "on_pad": {
        "in": "on", "into": "onto", "inside": "on", "over to": "to", "towards": "to",
        "toward": "to", "on to": "onto", "upon": "on", "down on": "on", "over onto": "onto",
        "atop": "on top of",
    },
    "to_pad": {
        "across to": "over to", "over onto": "onto", "across onto": "onto", "towards": "to",
        "toward": "to", "on": "onto", "on to": "onto", "across table to": "along the table to",
        "over table to": "along the table to", "along to": "over to", "on top of": "onto",
        "across": "over to",
    },
    "colour": {"violet": "purple"},
    "any": {"item": "object"},
    "size": {
        "littlest": "smallest", "tiniest": "smallest", "greatest": "largest", "largest of": "largest",
    },
    "side": _SIDES,
    "near": {
        "nearest": "nearest to", "closest": "closest to", "farthest to": "farthest from",
        "furthest to": "furthest from", "nearest from": "nearest to", "closest from": "closest to",
        "farthest away from": "farthest from", "furthest away from": "furthest from",
        "farthest": "farthest from", "furthest": "furthest from",
    },
}  # fmt: skip
HARMLESS = ["please", "pls", "kindly", "now", "just", "right now", "robot", "for me", "thanks", "thank you", "that is", "which is", "thats", "whichs", "coloured", "colored", "immediately"]  # fmt: skip
OPENINGS = [
    "hey", "hi", "hello", "ok", "okay", "so", "well", "and", "now then",
    "can you", "could you", "would you", "will you", "could you possibly", "would you mind to",
    "can you maybe", "i want you to", "i need you to", "i would like you to", "id like you to",
    "i want robot to", "you should", "you must", "you need to", "you have to", "go ahead and", "go and",
    "try to", "lets", "let us", "your task is to", "help me",
]  # fmt: skip
# {x} up: common phrasing with these verbs.
UP = "(pick|lift|hold|raise|take|bring)"


def language_of(robot: str) -> Language:
    """The sentences of the demonstrations in the robot's twin."""
    twin = find_twin(robot)
    classes = {k: v for k, v in CLASSES.items() if k != "place" or "relation" in twin.kinds}
    things = ["{colour} {shape}", "{colour} {any}", "{shape}", "{size} {any}", "{size} {shape}"]
    anchors = []
    if "relation" in twin.kinds:
        anchors = ["{colour} {shape}", "{shape}", "{place}"]
        things += [f"{{{n}}} {{{r}}} the {{anchor}}" for n in ("shape", "any") for r in ("side", "near")]  # fmt: skip
    else:
        classes = {k: v for k, v in classes.items() if k not in ("side", "near")}
    forms = [["{pick} the {thing}"]]
    forms += [[f"{verb} the {{thing}} up", "pick the {thing} up"] for verb in UP[1:-1].split("|")]
    examples = ["pick up the red cube"]
    if "put" in twin.families:
        for place, how in (("tray", "in_tray"), ("pad", "on_pad")):
            goal = f"{{{how}}} the {place}"
            forms.append([f"{{put}} the {{thing}} {goal}"])
            forms.append([f"{{pick}} the {{thing}} and {{put}} it {goal}"])
            forms += [
                [f"{{pick}} the {{thing}} {then} {{put}} it {goal}", f"{{pick}} the {{thing}} and {{put}} it {goal}"]
                for then in ("and then", "then")
            ]  # fmt: skip
        examples += ["put the smallest object in the tray", "put the blue ball on the pad"]
    if "push" in twin.families:
        forms.append(["{push} the {thing} {to_pad} the pad"])
        examples.append("push the green cylinder to the pad")
    else:
        classes = {k: v for k, v in classes.items() if k not in ("push", "to_pad")}
    if "relation" in twin.kinds:
        examples.append("lift the cube left of the yellow ball")
    shapes = {w: SHAPES.index(s) for s, words in SHAPE_WORDS.items() for w in words}
    looks = {"colour": {c: i for i, c in enumerate(COLOURS)}, "shape": shapes}
    return from_dict(
        {
            "format": 1,
            "examples": examples,
            "forms": forms,
            "things": things,
            "anchors": anchors,
            "classes": classes,
            "synonyms": {k: v for k, v in SYNONYMS.items() if k in classes},
            "harmless": HARMLESS,
            "openings": OPENINGS,
            "looks": looks,
            "least": None,
        }
    )


def unread(language: Language, robot: str, count: int, *, paraphrases: str = "seen") -> list[str]:
    """Drawn sentences that language does not read; also trained ones read as another sentence."""
    strange = []
    for seed in range(count):
        scene = sample_scene(seed, robot=robot)
        rng = np.random.default_rng([seed, 1])
        sentence = sample_task(scene, rng, paraphrases=paraphrases).instruction
        got = language.read(sentence)
        if not isinstance(got, Understood):
            strange.append(f"{sentence!r}: {got.detail}")
        elif paraphrases == "seen" and _plain(got.said) != _plain(sentence):
            strange.append(f"{sentence!r} was read as {got.said!r}")
    return strange


def _plain(sentence: str) -> list[str]:
    words = " ".join(heard(sentence))
    for harmless in ("please ", "can you "):
        words = words.removeprefix(harmless)
    return words.split()


def main() -> int:
    """Write language.json of each robot into a checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the checkpoint")
    parser.add_argument("--robots", nargs="+", required=True, help="that it is for, by name")
    args = parser.parse_args()
    written = {}
    for robot in args.robots:
        language = language_of(robot)
        if strange := unread(language, robot, SENTENCES):
            raise ValueError(f"{robot}: {len(strange)} of {SENTENCES} sentences: {strange[0]}")
        written[robot] = to_dict(language)
    write_json(args.folder / FILE, written)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
