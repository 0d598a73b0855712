"""A policy that sees a small table of named things, for planners: it points and refuses, and never acts."""

from dataclasses import replace

import numpy as np

from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy
from vla_policy.types import Observation, Reason

TRAY, PAD = (0.30, -0.10, 0.0), (0.30, 0.10, 0.0)
PLACES = {"tray": TRAY, "pad": PAD}
KNOWN = {
    f"{colour} {shape}"
    for colour in ("red", "green", "blue")
    for shape in ("cube", "cylinder", "ball")
}


class TablePolicy(PlainPolicy):
    """things: name -> xyz of what is there. hidden: names that it does not see now."""

    rows, contract, can_point = 1, PlainContract((), ()), True

    def __init__(self, **things):
        self.things = {name.replace("_", " "): np.array(xyz) for name, xyz in things.items()}
        self.hidden = set()

    def understands(self, instruction: str) -> Reason | None:
        named = named_in(instruction)
        return None if named else Reason("words", "say for example 'pick up the red cube'")

    def sees(self, observation: Observation) -> Reason | None:
        name = named_in(observation.instruction)
        there = name in self.things and name not in self.hidden
        return None if there else Reason("not_seen", f"no {name} is to be seen on the table")

    def point(self, observation: Observation):
        place = next((p for p in PLACES if observation.instruction.endswith(p)), None)
        where = {} if place is None else {"destination_xyz": np.array(PLACES[place])}
        return {"target_xyz": self.things[named_in(observation.instruction)], **where}

    def obey(self, subtask):
        """What a policy that always succeeds would do."""
        place = next((p for p in PLACES if subtask.endswith(p)), None)
        if place is None:
            return  # into the hand
        beside = len(
            [xyz for xyz in self.things.values() if abs(xyz[1] - PLACES[place][1]) < 0.05]
        )
        self.things[named_in(subtask)] = np.add(PLACES[place], [0.0, 0.021 * beside, 0.0])


def named_in(instruction):
    """The known name in a sentence, or None."""
    return next((name for name in sorted(KNOWN) if f"the {name}" in instruction), None)


def observation(instruction="clear the table", image=None):
    """An observation with one small picture."""
    image = np.zeros((8, 8, 3), np.uint8) if image is None else image
    return replace(Observation({"front": image}, np.zeros(0), (), "", 1), instruction=instruction)
