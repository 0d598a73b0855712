"""Where `small` looks first for words of its own kind: synonyms, typing errors in names, categories, digits and sums.

    python benchmarks/meaning_words.py --heads small --web data/web --count 50 --out FILE

The arm does not move. Three things are on the table, chance is a third. The synonyms were written after training, before anything
was known of how the head reads them. Typing errors are of the fifth that is in no training text. The figures are drawn with lines of
OpenCV, which is no font of training. "the sum of ... and ..." is no phrasing of training, and a fifth of the pairs is in none either.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import torch
from meaning_pointing import look, read_heads, share

from vla_policy.data.web.concepts import Concept, held_out
from vla_policy.data.web.pictures import WebPictures, load
from vla_policy.evaluate.rt2 import FIRST_SEED
from vla_policy.sim.scenes.cards import card_scene, draw_card, make_card
from vla_policy.sim.scenes.scene import CARD_PX, Card, Scene
from vla_policy.sim.world.world import World
from vla_policy.train.meaning.words import error_is_held_out, pairs

SYNONYMS = {
    "monkey": "ape", "dog": "puppy", "cat": "kitty", "horse": "pony", "donkey": "mule", "pig": "hog", "rabbit": "bunny",
    "rooster": "cock", "turkey": "gobbler", "swan": "cygnet", "eagle": "hawk", "frog": "toad", "crocodile": "alligator",
    "turtle": "tortoise", "snake": "viper", "blowfish": "puffer fish", "lady beetle": "ladybird", "honeybee": "wasp",
    "mushroom": "toadstool", "ear of corn": "maize", "tangerine": "mandarin", "eggplant": "aubergine", "hot pepper": "chilli",
    "french fries": "chips", "hamburger": "burger", "cookie": "biscuit", "candy": "sweetie", "doughnut": "fritter ring",
    "spaghetti": "pasta", "train": "railway engine", "bicycle": "bike", "motorcycle": "motorbike", "airplane": "plane",
    "ship": "vessel", "helicopter": "chopper", "flying saucer": "ufo", "trophy": "winner's cup", "necktie": "tie",
    "glasses": "spectacles", "jeans": "denim trousers", "backpack": "rucksack", "handbag": "lady's bag", "violin": "fiddle",
    "mobile phone": "cell phone", "television": "tv set", "flashlight": "torch", "laptop": "notebook computer",
    "scissors": "shears", "wrench": "spanner", "axe": "hatchet", "toilet": "lavatory", "broom": "besom", "bucket": "pail",
    "syringe": "injection needle", "pill": "tablet of medicine", "key": "door opener", "package": "parcel", "coffin": "casket",
}  # fmt: skip
CATEGORIES = {
    "animal-mammal": "mammal", "animal-bird": "bird", "animal-marine": "sea creature", "animal-bug": "insect",
    "animal-reptile": "reptile", "plant-flower": "flower", "plant-other": "plant", "food-fruit": "fruit",
    "food-vegetable": "vegetable", "food-sweet": "dessert", "drink": "drink", "transport-ground": "land vehicle",
    "transport-air": "aircraft", "sport": "sports equipment", "clothing": "piece of clothing",
    "musical-instrument": "musical instrument", "computer": "computer part", "book-paper": "thing to read",
    "writing": "thing to write with", "tool": "tool", "medical": "medical item", "household": "household item",
}  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CARDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", nargs="+", required=True, help="NAME=FILE, or a shipped policy")
    parser.add_argument("--columns", nargs="*", choices=tuple(ASKED), default=tuple(ASKED))
    parser.add_argument("--web", type=Path, default=Path("data/web"))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    heads = read_heads(args.heads)
    world, web = World(renderer="auto"), load(args.web)
    found: dict[str, dict[str, dict[str, str]]] = {name: {} for name in heads}
    for name in args.columns:
        seen = []
        for index in range(args.count):
            rng = np.random.default_rng([args.seed, index, len(name), 41])
            cards, said = ASKED[name](web, rng)
            seed = FIRST_SEED + 2000 * args.seed + index
            scene: Scene = card_scene(seed, cards)
            seen.append(look(world, heads, scene, [f"pick up the {said}"]))
        for head in heads:
            mine = [one[head][0] for one in seen]
            found[head][name] = {
                "looks right": share([one["nearest"] == 0 for one in mine]),
                "refused": share([one["refused"] for one in mine]),
                "obeyed and wrong": share(
                    [one["nearest"] != 0 and not one["refused"] for one in mine]
                ),
            }
            print(head, name, found[head][name], flush=True)
    report = {
        "command": " ".join(["python", "benchmarks/meaning_words.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, one thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "seed": args.seed,
        "found": found,
    }
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def synonyms(web: WebPictures, rng: np.random.Generator) -> tuple[list[Card], str]:
    """The first thing by another word."""
    said = [c for c in held_out(web.concepts, "web") if c.name in SYNONYMS]
    first = said[rng.integers(len(said))]
    return _cards(web, [first, *_others(web, rng, {first.key})], rng), SYNONYMS[first.name]


def errors(web: WebPictures, rng: np.random.Generator) -> tuple[list[Card], str]:
    """The first thing with two letters of its name swapped, one left out, or one doubled, as no training text has it."""
    named = [c for c in held_out(web.concepts, "web") if len(c.name) > 4]
    while True:
        first = named[rng.integers(len(named))]
        at = int(rng.integers(1, len(first.name) - 2))
        a, b, c = first.name[:at], first.name[at : at + 2], first.name[at + 2 :]
        said = (a + b[::-1] + c, a + b[1] + c, a + b[0] + b + c)[int(rng.integers(3))]
        if said != first.name and error_is_held_out(said):
            return _cards(web, [first, *_others(web, rng, {first.key})], rng), said


def categories(web: WebPictures, rng: np.random.Generator) -> tuple[list[Card], str]:
    """The first thing by its category; the others are of two more."""
    things = held_out(web.concepts, "web")
    kinds = [str(k) for k in rng.choice(sorted(CATEGORIES), CARDS, replace=False)]
    of = [[c for c in things if c.category == kind] for kind in kinds]
    return _cards(web, [some[rng.integers(len(some))] for some in of], rng), CATEGORIES[kinds[0]]


def digits(web: WebPictures, rng: np.random.Generator) -> tuple[list[Card], str]:
    """Three digits, one by its figure or its word."""
    drawn = [int(d) for d in rng.choice(10, CARDS, replace=False)]
    said = str(drawn[0]) if rng.random() < 0.5 else NUMBERS[drawn[0]]
    return [_digit(d, rng) for d in drawn], said


def sums(web: WebPictures, rng: np.random.Generator) -> tuple[list[Card], str]:
    """Three digits, the first as a sum of two."""
    drawn = [int(d) for d in rng.choice(np.arange(2, 10), CARDS, replace=False)]
    part = int(rng.integers(1, drawn[0]))
    cards = [_digit(d, rng) for d in drawn]
    return cards, f"sum of {NUMBERS[part]} and {NUMBERS[drawn[0] - part]}"


def new_sums(web: WebPictures, rng: np.random.Generator) -> tuple[list[Card], str]:
    """The same with pairs that no training text adds up."""
    options = pairs(held_out=True)
    a, b = options[rng.integers(len(options))]
    others = [d for d in range(2, 10) if d != a + b]
    drawn = [a + b, *(int(d) for d in rng.choice(others, CARDS - 1, replace=False))]
    return [_digit(d, rng) for d in drawn], f"sum of {NUMBERS[a]} and {NUMBERS[b]}"


ASKED = {
    "synonyms": synonyms,
    "typing errors in names": errors,
    "by category": categories,
    "digits": digits,
    "sums": sums,
    "sums of new pairs": new_sums,
}


def _others(web: WebPictures, rng: np.random.Generator, but: set[str]) -> Iterator[Concept]:
    things = [c for c in held_out(web.concepts, "web") if c.key not in but]
    for i in rng.choice(len(things), CARDS - 1, replace=False):
        yield things[int(i)]


def _cards(web: WebPictures, things: list[Concept], rng: np.random.Generator) -> list[Card]:
    return [draw_card(web, web.concepts.index(thing), "noto", rng) for thing in things]


def _digit(digit: int, rng: np.random.Generator) -> Card:
    """A large figure in a dark colour on light paper."""
    picture = np.full((CARD_PX, CARD_PX, 3), rng.integers(225, 256, 3), np.uint8)
    colour = [int(x) for x in rng.integers(0, 120, 3)]
    (w, h), _ = cv2.getTextSize(str(digit), cv2.FONT_HERSHEY_SIMPLEX, 2.0, 6)
    corner = ((CARD_PX - w) // 2, (CARD_PX + h) // 2)
    cv2.putText(picture, str(digit), corner, cv2.FONT_HERSHEY_SIMPLEX, 2.0, colour, 6, cv2.LINE_AA)
    return make_card(str(digit), picture)


if __name__ == "__main__":
    main()
