"""The suite `rt2`: RT-2's columns on boxes with pictures; every instruction names an object.

The columns differ in what training contained of the objects (their role, data/web/concepts.py), in
style, positions and language of the instructions. All three boxes of a scene have the column's
role.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from vla_policy.data.web.concepts import HELD_OUT_STYLE, held_out, of_role
from vla_policy.data.web.pictures import WebPictures, load
from vla_policy.sim.scenes.cards import card_scene, draw_card, named_task
from vla_policy.sim.scenes.scene import Scene
from vla_policy.sim.tasks.tasks import Task

FIRST_SEED = 2_000_000  # those of the other suites are smaller
SEEDS_PER_RUN = 2_000
CARDS = 3
_WHERE = (None, "tray", None, "pad")
# (pick, put in the tray, put on the pad) in each language; {x} is the object.
SENTENCES = {
    "en": ("pick up the {x}", "put the {x} in the tray", "put the {x} on the pad"),
    "de": ("heb {x} hoch", "leg {x} in das Tablett", "leg {x} auf die Matte"),
    "es": ("coge {x}", "pon {x} en la bandeja", "pon {x} en la almohadilla"),
    "fr": ("prends {x}", "mets {x} dans le plateau", "mets {x} sur le tapis"),
    "zh": ("拿起{x}", "把{x}放进托盘", "把{x}放在垫子上"),
    "it": ("prendi {x}", "metti {x} nel vassoio", "metti {x} sul tappetino"),
    "ja": ("{x}を持ち上げて", "{x}をトレイに入れて", "{x}をパッドの上に置いて"),
    "ru": ("возьми {x}", "положи {x} на поднос", "положи {x} на коврик"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """role: of all things in a scene. alike: they are of one category. languages: taken in turn.

    absent: what is asked for is not in the scene; to refuse it is right.
    """

    name: str
    says: str
    role: str
    style: str = "noto"
    split: str = "train"
    languages: tuple[str, ...] = ("en",)
    alike: bool = False
    absent: bool = False


COLUMNS = {
    column.name: column
    for column in (
        Column("rt2_seen", "things that robot data shows", "robot"),
        Column("rt2_web", "things known from pictures and names alone", "web"),
        Column("rt2_style", "the same in a drawing style never seen", "web", style=HELD_OUT_STYLE),
        Column("rt2_nowhere", "things in no training data", "nowhere"),
        Column("rt2_table", "known from pictures alone, on other tables", "web", split="other_table"),
        Column("rt2_camera", "known from pictures alone, camera moved", "web", split="moved_camera"),
        Column("rt2_alike", "known from pictures alone, three of one category", "web", alike=True),
        Column("rt2_languages", "asked for in German, Spanish, French, Chinese", "web",
               languages=("de", "es", "fr", "zh")),
        Column("rt2_new_languages", "asked for in Italian, Japanese, Russian", "web",
               languages=("it", "ja", "ru")),
        Column("rt2_absent_seen", "of robot data, and not there: refused is right", "robot", absent=True),
        Column("rt2_absent", "known from pictures alone, and not there: refused is right", "web", absent=True),
    )
}  # fmt: skip


def rt2_trial(
    column: Column, seed: int, index: int, *, web: Path, robot: str = "vx300s"
) -> tuple[Scene, Task]:
    """Scene and task number index of a run with seed 0, 1, ...; deterministic.

    web: folder written by `vla data web`. Raises ValueError for a seed or index outside the
    evaluation scenes.
    """
    if not (0 <= seed <= 99 and 0 <= index < SEEDS_PER_RUN):
        raise ValueError(f"trial: got seed {seed}, index {index}, expected 0..99 and 0..1999")
    scene_seed = FIRST_SEED + seed * SEEDS_PER_RUN + index
    rng = np.random.default_rng([scene_seed, 2])
    pictures = _pictures(web)
    chosen = _things(pictures, column, rng)
    cards = [draw_card(pictures, thing, column.style, rng) for thing in chosen[:CARDS]]
    scene = card_scene(scene_seed, cards, split=column.split, robot=robot)
    where = _WHERE[index % len(_WHERE)]
    language = column.languages[index // len(_WHERE) % len(column.languages)]
    form = SENTENCES[language][(None, "tray", "pad").index(where)]
    name = pictures.concepts[chosen[-1 if column.absent else 0]].names[language]
    return scene, named_task(scene, 0, form.format(x=name), where)


def _things(pictures: WebPictures, column: Column, rng: np.random.Generator) -> list[int]:
    """Numbers of three different things, the first of which is asked for; of a fourth where an absent one is."""
    of = of_role if column.role == "robot" else held_out
    keys = {concept.key for concept in of(pictures.concepts, column.role)}
    options = [i for i, concept in enumerate(pictures.concepts) if concept.key in keys]
    if column.alike:
        categories = [pictures.concepts[i].category for i in options]
        large = sorted({c for c in categories if categories.count(c) >= CARDS})
        category = large[rng.integers(len(large))]
        options = [i for i in options if pictures.concepts[i].category == category]
    return [int(i) for i in rng.choice(options, CARDS + column.absent, replace=False)]


@cache
def _pictures(folder: Path) -> WebPictures:
    return load(folder)
