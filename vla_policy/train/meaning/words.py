"""Training sentences of `small`: forms about an object, names by language, non-commands."""

from __future__ import annotations

import numpy as np

from vla_policy.data.web.concepts import Concept
from vla_policy.models.wide import INTENTS
from vla_policy.sim.tasks.tasks import TEMPLATES

# In addition to the simulation's templates. {x} stands for "the object".
FORMS = {
    "pick": (
        "pick up {x} for me please", "take hold of {x}", "pick {x}", "get {x} off the table", "could you get {x}",
        "i would like you to pick up {x}", "please lift {x} up", "grasp {x} with the gripper", "catch {x}",
        "your job is to pick up {x}", "now lift up {x}", "can you take {x} please", "the thing to pick up is {x}",
    ),
    "tray": (
        "put {x} into the tray please", "{x} goes into the tray", "move {x} to the tray", "throw {x} in the tray",
        "i want you to put {x} in the tray", "can you put {x} in the tray", "drop {x} inside the tray",
        "take {x} to the tray", "please place {x} in the tray", "into the tray with {x}", "tray: {x}",
    ),
    "pad": (
        "put {x} on the pad please", "{x} goes on the pad", "move {x} to the pad", "drop {x} on the pad",
        "i want you to put {x} on the pad", "can you put {x} on the pad", "lay {x} down on the pad",
        "take {x} to the pad", "please place {x} onto the pad", "onto the pad with {x}", "pad: {x}",
    ),
}  # fmt: skip
OTHER_LANGUAGES = {
    "de": {"pick": ("nimm {x}", "greif {x}", "hol mir {x}"), "tray": ("stell {x} in das Tablett", "{x} kommt ins Tablett"),
           "pad": ("stell {x} auf das Pad", "{x} kommt auf die Matte")},
    "es": {"pick": ("agarra {x}", "levanta {x}", "toma {x}"), "tray": ("coloca {x} en la bandeja", "deja {x} en la bandeja"),
           "pad": ("coloca {x} sobre la alfombrilla", "deja {x} en la almohadilla")},
    "fr": {"pick": ("attrape {x}", "soulève {x}", "ramasse {x}"), "tray": ("place {x} sur le plateau", "pose {x} dans le plateau"),
           "pad": ("place {x} sur le tapis", "pose {x} sur le coussinet")},
    "zh": {"pick": ("捡起{x}", "抓住{x}", "请拿{x}"), "tray": ("把{x}放到托盘里", "将{x}移到托盘"),
           "pad": ("把{x}放到垫子上", "将{x}移到圆垫上")},
}  # fmt: skip
SENSELESS = (
    "hello", "good morning", "what time is it", "who are you", "stop", "go home", "come back", "thank you", "yes", "no",
    "tell me a joke", "what do you see", "how many things are there", "where is it", "is it red", "are you ready",
    "the weather is nice", "i am hungry", "my name is robot", "look", "wait", "turn around", "dance", "jump", "clean up",
    "do nothing", "make coffee", "switch yourself off", "one two three", "in the tray", "on the pad", "pick it", "lift",
    "and", "please", "maybe later", "which one", "qwerty", "lorem ipsum dolor", "open the gripper", "faster", "slower",
    "what is this", "drive to the wall", "cut the paper", "write a letter", "how old is the moon", "count to ten",
    "do not pick up anything", "put", "take", "the robot is broken", "is there something on the table", "push the table",
    "what is bigger", "when does the train leave", "play music", "read the news", "wash the dishes", "close the window",
)  # fmt: skip


def forms(language: str, intent: str) -> tuple[str, ...]:
    """The training forms of an intent. Raises KeyError for a language that is not trained."""
    if language != "en":
        return OTHER_LANGUAGES[language][intent]
    if intent == "pick":
        return (*TEMPLATES["pick"], *FORMS["pick"])
    prepositions = ("in", "into", "inside") if intent == "tray" else ("on", "onto", "on top of")
    filled = [
        form.replace("{in}", preposition).replace("{into}", prepositions[1]).replace("{d}", f"the {intent}")
        for form in TEMPLATES["put"]
        for preposition in prepositions
    ]  # fmt: skip
    return (*dict.fromkeys(filled), *FORMS[intent])


def sentences_about(
    names: dict[str, str], rng: np.random.Generator, count: int
) -> list[tuple[str, int]]:
    """count texts that name one object, with the number of their intent. names: by language.

    "en" is the most frequent. The first text is the name alone, which is no command.
    """
    said = [(names["en"], 0)]
    others = sorted(set(names) & set(OTHER_LANGUAGES))
    while len(said) < count:
        language = str(rng.choice(others)) if others and rng.random() < 0.35 else "en"
        name = names[language]
        if rng.random() < 0.25:
            said.append((name, 0))
            continue
        intent = int(rng.choice([1, 2, 3], p=[0.4, 0.3, 0.3]))
        options = forms(language, INTENTS[intent])
        article = "the " if language == "en" else ""
        form = options[rng.integers(len(options))]
        said.append((form.format(x=article + name), intent))
    return said


def names_of(concept: Concept) -> dict[str, str]:
    """Its names in the trained languages."""
    return {k: v for k, v in concept.names.items() if k == "en" or k in OTHER_LANGUAGES}
