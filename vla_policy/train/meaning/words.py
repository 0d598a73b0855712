"""Training sentences of `small`: forms about an object, names by language, non-commands."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

from vla_policy.data.web.concepts import Concept, of_role, words_of
from vla_policy.models.wide import INTENTS
from vla_policy.sim.scenes.scene import COLOURS, SHAPES
from vla_policy.sim.tasks.references import SHAPE_WORDS
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


# With these the benchmark asks for things and for kinds of things; no training text has any of them as another word.
HELD_OUT_WORDS = frozenset(
    "alligator ape aubergine bag besom bike biscuit bunny burger casket cell chilli chip chopper clothing cock computer cygnet "
    "denim dessert door drink engine equipment fiddle fish flower fritter fruit gobbler hatchet hawk hog household injection insect "
    "instrument item kitty lady lady's ladybird land lavatory maize mammal mandarin medical medicine motorbike mule musical needle notebook "
    "opener paper parcel part pasta phone piece pail plane plant pony puffer puppy railway read reptile ring rucksack sea set shears "
    "spanner spectacle sport sweetie tablet thing tie toad toadstool tool torch tortoise trouser tv ufo vegetable vehicle vessel viper "
    "wasp winner's write aircraft creature cup bird".split()
)


def other_words(concepts: Iterable[Concept]) -> dict[str, tuple[str, ...]]:
    """By name, the tags that are another word for a thing known from pictures and words alone, and for no other thing.

    Left out: what the benchmark asks with (HELD_OUT_WORDS), words of any thing's name, of plain objects and of robot things.
    """
    concepts = list(concepts)
    count = Counter(tag for concept in concepts for tag in set(concept.tags))
    taken = {word for concept in concepts for word in words_of(concept.name)}
    taken |= {*COLOURS, *SHAPES, *(word for some in SHAPE_WORDS.values() for word in some)}
    taken |= {
        word for one in of_role(concepts, "robot") for tag in one.tags for word in words_of(tag)
    }
    found = {}
    for concept in of_role(concepts, "web"):
        kept = tuple(
            tag
            for tag in concept.tags
            if count[tag] == 1
            and re.fullmatch(r"[a-z' -]{3,}", tag)
            and not words_of(tag) & taken
            and not any(is_held_out_word(word) for word in re.findall(r"[\w']+", tag))
        )
        if kept:
            found[concept.name] = kept
    return found


def is_held_out_word(word: str) -> bool:
    """Whether the benchmark asks with this word, in singular or plural."""
    return word in HELD_OUT_WORDS or word.removesuffix("s") in HELD_OUT_WORDS


# Words of the figures in each trained language, and what a figure is called.
NUMBERS = {
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "de": ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
    "es": ("cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"),
    "fr": ("zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"),
    "zh": ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九"),
}
CALLED = {
    "en": ("the {n}", "the {n}", "{n}", "number {n}", "the number {n}", "the digit {n}", "the box with the {n}", "the figure {n}"),
    "de": ("die {n}", "die Zahl {n}", "die Ziffer {n}"),
    "es": ("el {n}", "el número {n}"),
    "fr": ("le {n}", "le chiffre {n}", "le numéro {n}"),
    "zh": ("{n}", "数字{n}"),
}  # fmt: skip
# Sums of two figures. Other phrasings and a fifth of the pairs are never trained.
SUMS = (
    "{a} plus {b}", "{a} + {b}", "{a} and {b} together", "{a} added to {b}", "the total of {a} and {b}",
    "what {a} and {b} make", "what {a} plus {b} is", "the result of {a} plus {b}", "the answer to {a} plus {b}",
    "the number {a} plus {b}", "{a} and {b} added up", "the box with {a} plus {b}", "{a} increased by {b}",
    "{a} and another {b}", "the number you get by adding {a} to {b}", "{b} more than {a}", "the outcome of {a} plus {b}",
    "{a} with {b} on top", "all of {a} and {b} counted together", "the figure that {a} and {b} come to",
)  # fmt: skip
# Two figures and no sum.
NOT_SUMS = (
    "{a} and {b}", "the {a} and the {b}", "{a} or {b}", "{a} minus {b}", "{a} times {b}", "{a} but not {b}", "from {a} to {b}",
    "the {a} instead of the {b}", "the box between {a} and {b}", "{a} less than {b}", "{a} divided by {b}",
    "the difference between {a} and {b}", "first the {a}, then the {b}", "the product of {a} and {b}", "{a} multiplied by {b}",
    "either the {a} or the {b}", "{a} without {b}", "{a} to the power of {b}", "what is left of {a} after taking {b}",
)  # fmt: skip
# Sentences about one thing with words that are also those of figures.
ONE_THING = (
    "the one to take is {x}", "there is one {x}, take it", "that one is {x}, pick it up", "the first one to put away is {x}",
    "one more thing: pick up {x}", "get {x} in one go", "someone wants {x}, lift it", "no one needs {x}, put it in the tray",
    "two of us need {x} on the pad", "at ten put {x} in the tray", "of all of them take {x} for a moment",
)  # fmt: skip
LARGEST = 9
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # rows of an English keyboard


def pair_is_held_out(a: int, b: int) -> bool:
    """Whether no training text has the sum of a and b, in either order."""
    return _fifth(f"{min(a, b)}+{max(a, b)}") == 0


def pairs(*, held_out: bool) -> list[tuple[int, int]]:
    """Ordered pairs of figures from 1 with a sum of at most 9: those of training, or the others."""
    every = [(a, b) for a in range(1, LARGEST) for b in range(1, LARGEST + 1 - a)]
    return [pair for pair in every if pair_is_held_out(*pair) == held_out]


def error_is_held_out(text: str) -> bool:
    """Whether no training text has this name with its typing error: a fifth of them."""
    return _fifth(text) == 0


def typing_error(text: str, rng: np.random.Generator) -> str:
    """text with two letters swapped, one left out, one doubled, or one by its neighbour on the keyboard."""
    letters = [i for i in range(1, len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha()]
    if not letters:
        return text
    at = int(rng.choice(letters))
    a, b, c, d = text[:at], text[at], text[at + 1], text[at + 2 :]
    near = next((row for row in _KEYS if b in row), b)
    beside = (
        near[max(0, near.index(b) - 1)] if rng.random() < 0.5 else near[near.index(b) + 1 :][:1]
    )
    made = (a + c + b + d, a + c + d, a + b + b + c + d, a + (beside or b) + c + d)
    return made[int(rng.choice(4, p=(0.3, 0.3, 0.25, 0.15)))]


def sentences_with_errors(
    name: str, rng: np.random.Generator, count: int
) -> list[tuple[str, int]]:
    """count English texts about one object with a typing error, three of four in its name."""
    said: list[tuple[str, int]] = []
    while len(said) < count:
        wrong = typing_error(name, rng) if len(name) > 3 and rng.random() < 0.75 else name
        if wrong != name and error_is_held_out(wrong):
            continue
        text, intent = sentences_about({"en": wrong}, rng, 2)[1]
        if wrong == name:
            text = typing_error(text, rng)
            if name not in text:
                continue
        said.append((text, intent))
    return said


def sentences_about_digit(
    digit: int, rng: np.random.Generator, count: int
) -> list[tuple[str, int]]:
    """sentences_about for a figure: by its sign or its word in a trained language; the first is the sign alone."""
    said = [(str(digit), 0)]
    while len(said) < count:
        language = str(rng.choice(list(OTHER_LANGUAGES))) if rng.random() < 0.35 else "en"
        called = CALLED[language][rng.integers(len(CALLED[language]))]
        name = called.format(n=str(digit) if rng.random() < 0.4 else NUMBERS[language][digit])
        said.append(_asked(name, language, rng))
    return said


def sums(
    rng: np.random.Generator,
    count: int,
    known: list[tuple[int, int]],
    options: tuple[str, ...] = SUMS,
) -> list[tuple[str, tuple[int, int]]]:
    """count English texts that name a pair of known in one of these forms, and the pair, the smaller first."""
    said = []
    for _ in range(count):
        a, b = known[rng.integers(len(known))]
        text, _intent = sum_of(a, b, options[rng.integers(len(options))], rng)
        said.append((text, (min(a, b), max(a, b))))
    return said


def sum_of(a: int, b: int, form: str, rng: np.random.Generator) -> tuple[str, int]:
    """A text with the sum of a and b in this form, by words or signs, and its intent."""
    signs = rng.random() < 0.35
    one, other = (str(n) if signs else NUMBERS["en"][n] for n in (a, b))
    return _asked(form.format(a=one, b=other), "en", rng)


# Sentences about two things, of which {x} is wanted and {y} is not. {d}: where it is to be put.
CONTRASTS = {
    "pick": (
        "take {x} and not {y}", "not {y} but {x}", "pick up {x} rather than {y}", "leave {y} where it is and lift {x}",
        "i do not want {y}, give me {x}", "do not pick up {y}, pick up {x}", "no, not {y}: take {x}", "grab {y}... no, {x}",
        "take {y}, oh no, {x}", "pick up {y}, i meant {x}", "lift {y}, or rather {x}", "anything but {y}: take {x}",
        "forget {y}, get {x}", "i said {x}, not {y}", "not {y}! {x}!", "never mind {y}, grab {x}", "pick {x}, ignore {y}",
        "get {y}, no sorry, get {x}", "don't take {y} but {x}", "keep off {y} and pick up {x}", "instead of {y} take {x}",
        "take {y}, actually {x}", "{x} please, and not {y}", "pick up {y}, hmm, make that {x}", "skip {y}, lift {x}",
        "without touching {y}, lift {x}", "no, {x} and not {y}", "{x}, never {y}", "pick up {y}, wrong, {x}",
        "lift {x} and let {y} be", "do not move {y}, only {x}", "i wanted {x} and you took {y}, take {x}",
        "get {y}, no wait, get {x}", "grab {x} and keep away from {y}", "you should take {x}, you should not take {y}",
    ),
    "put": (
        "put {x} {d} and not {y}", "put {x} {d} and leave {y}", "move {y} {d}, no, {x}", "place {y}, i meant {x}, {d}",
        "put {y} {d}, oh no, {x}", "don't put {y} {d}, put {x} {d}", "{x} goes {d}, not {y}", "put {x} rather than {y} {d}",
        "drop {y}, or rather {x}, {d}", "i said {x} {d}, not {y}", "forget {y}, put {x} {d}", "do not move {y}, move {x} {d}",
        "set {y} {d}, actually {x}", "not {y} but {x} goes {d}", "put {y}, no, put {x} {d}", "anything but {y}: put {x} {d}",
    ),
}  # fmt: skip
# Sentences about two things that no policy here follows, and those that name none.
NEITHER = (
    "do not touch {x} or {y}", "pick up {x} and {y}", "take {x} or {y}", "{x} and {y}", "put {x} next to {y}",
    "leave {x} and {y} alone", "put {x} on {y}", "which is larger, {x} or {y}", "is {x} beside {y}", "swap {x} and {y}",
    "move neither {x} nor {y}", "first {x}, then {y}", "do not take {x} and do not take {y}", "put {x} and {y} in the tray",
    "stack {x} on top of {y}", "push {x} to {y}", "pick up {x} with {y}", "compare {x} and {y}", "put {x} between {y} and the tray",
)  # fmt: skip
UNNAMED = (
    "pick up the other one", "take the other", "no, the other one", "the other one in the tray", "put it there",
    "that one over there", "the same again", "now the next one", "not this one", "put them in the tray", "pick it up",
    "put it in the tray", "put it on the pad", "take that", "grab this one", "the one beside it", "lift the one you had before",
    "once more", "the second one", "now the other one on the pad", "and this one too", "take another one", "put that one back",
)  # fmt: skip
PLACES = ("in the tray", "into the tray", "on the pad", "onto the pad")


def contrast(
    x: str, y: str, rng: np.random.Generator, options: dict[str, tuple[str, ...]] = CONTRASTS
) -> str:
    """A sentence that wants x and not y."""
    every = [form for some in options.values() for form in some]
    form = every[rng.integers(len(every))]
    return form.format(x=x, y=y, d=PLACES[rng.integers(len(PLACES))])


def _asked(name: str, language: str, rng: np.random.Generator) -> tuple[str, int]:
    """A text with this name as it is, and its intent; a fifth is no command."""
    if rng.random() < 0.2:
        return name, 0
    intent = int(rng.choice([1, 2, 3], p=[0.4, 0.3, 0.3]))
    options = forms(language, INTENTS[intent])
    return options[rng.integers(len(options))].format(x=name), intent


def _fifth(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 5
