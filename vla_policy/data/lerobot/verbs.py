"""`vla data merge`, `split` and `edit`, each with rewrite(): the source stays unless replaced."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.durable import lock_folder
from vla_policy.data.lerobot.exchange import edited_of, exchange, finish_exchange, undo_of
from vla_policy.data.lerobot.reader import DataSet, open_set
from vla_policy.data.lerobot.rewrite import Changes, rewrite

Tell = Callable[[int], None]


def episodes_in(words: str, count: int) -> list[int]:
    """Episodes of '3', '0:80' (end exclusive, either side optional), separated by commas.

    Raises ValueError for numbers outside a set of count episodes, or duplicates.
    """
    found: list[int] = []
    for part in words.split(","):
        begin, colon, end = part.strip().partition(":")
        try:
            first = int(begin) if begin or not colon else 0
            last = (int(end) if end else count) if colon else first + 1
        except ValueError as error:
            raise ValueError(f"episodes: got {part!r}, expected 3 or 0:80") from error
        if not 0 <= first < last <= count:
            raise ValueError(f"episodes: got {part!r}, expected some of 0:{count}")
        found += range(first, last)
    if len(set(found)) < len(found):
        raise ValueError(f"episodes: got {words!r}, which has one twice")
    return found


def merge(sources: Sequence[Path], target: Path, tell: Tell) -> DataSet:
    """All episodes of several sets, in this order."""
    sets = [open_set(path) for path in sources]
    return rewrite([(d, e) for d in sets for e in range(len(d.entries))], target, tell=tell)


def split(
    source: Path, parts: Mapping[str, str], folder: Path, *, seed: int, tell: Tell
) -> list[DataSet]:
    """A set in folder for each part: name -> episodes as in episodes_in, or a share like '90%'.

    Shares are drawn at random with seed from all episodes. Raises ValueError before anything is written.
    """
    data = open_set(source)
    chosen = _chosen(parts, len(data.entries), seed)
    for name in chosen:
        if name in ("", ".", "..") or "/" in name:
            raise ValueError(f"part {name!r}: expected a name for a folder")
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name}: there is something already")
    return [
        rewrite([(data, e) for e in episodes], folder / n, tell=tell)
        for n, episodes in chosen.items()
    ]


def _chosen(parts: Mapping[str, str], count: int, seed: int) -> dict[str, list[int]]:
    shares = [w.endswith("%") for w in parts.values()]
    if not any(shares):
        return {name: episodes_in(words, count) for name, words in parts.items()}
    if not all(shares):
        raise ValueError("parts: got shares and episodes, expected one of both")
    order = list(range(count))
    random.Random(seed).shuffle(order)
    found, end = {}, 0.0
    for name, words in parts.items():
        try:
            share = float(words[:-1]) / 100
        except ValueError as error:
            raise ValueError(f"part {name}: got {words!r}, expected a share like 90%") from error
        if not (0 < share <= 1 and end + share <= 1 + 1e-9):
            raise ValueError(
                f"part {name}: got {words}, expected shares of 100 % together at most"
            )
        taken = order[round(end * count) : round((end + share) * count)]
        if not taken:
            raise ValueError(f"part {name}: {words} of {count} episodes is none")
        found[name], end = sorted(taken), end + share
    return found


def edit(source: Path, target: Path | None, delete: str, changes: Changes, tell: Tell) -> DataSet:
    """A set without some episodes, with other texts, names or robot.

    target None: replaces the source.
    Then the original set is kept beside it as <name>.undo, and undo() restores it.
    """
    source = Path(os.path.abspath(source))  # '.' has no name
    finish_exchange(source)
    data = open_set(source)
    gone = set(episodes_in(delete, len(data.entries))) if delete else set()
    strange = [task for task in changes.tasks if task not in data.tasks]
    if strange:
        raise ValueError(
            f"{source}: no task {strange[0]!r}; there are {', '.join(map(repr, data.tasks))}"
        )
    kept = [(data, e) for e in range(len(data.entries)) if e not in gone]
    if target is not None:
        return rewrite(kept, target, changes, tell)
    with lock_folder(source / layout.STAGING):  # no recording into it meanwhile
        beside = edited_of(source)
        shutil.rmtree(beside, ignore_errors=True)  # of an edit that was interrupted
        rewrite(kept, beside, replace(changes, linked=True), tell)
        exchange(source, beside)
    return open_set(source)


def undo(source: Path) -> DataSet:
    """Restore the set from before the last edit; the current one can be restored likewise."""
    source = Path(os.path.abspath(source))
    finish_exchange(source)
    before = undo_of(source)
    open_set(before)
    with lock_folder(source / layout.STAGING):
        exchange(source, before)
    return open_set(source)
