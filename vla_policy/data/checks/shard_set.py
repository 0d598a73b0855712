"""Shards of `vla generate`: every demonstration as one episode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from vla_policy.data.checks.bounds import UNKNOWN, ColumnBounds, bounds_of
from vla_policy.data.checks.causes import root_causes
from vla_policy.data.checks.columns import check_constant, check_mixed
from vla_policy.data.checks.episode import check_rows, sums_by_feature
from vla_policy.data.checks.episode_data import EpisodeReport, EpisodeRows
from vla_policy.data.checks.finding import DataFinding, fault, in_episode
from vla_policy.data.checks.frozen import check_frozen
from vla_policy.data.checks.lengths import check_lengths
from vla_policy.data.checks.pictures import CameraPass, thumbnail
from vla_policy.data.checks.swapped import check_swapped
from vla_policy.data.frames import IMAGES
from vla_policy.data.lerobot.layout import ACTION, STATE
from vla_policy.data.shards import META_FILE, read_meta, read_shard, shards_below
from vla_policy.embodiment import embodiment_names, load_embodiment
from vla_policy.types import Array

RESTORE = "Delete the shard and run `vla generate` again: it makes what is missing"
FPS = 10.0  # of demonstrations in shards


def check_shards(
    root: Path, *, tell: Callable[[int], None] = lambda done: None
) -> tuple[DataFinding, ...]:
    """All findings; episodes are numbered over all shards. tell: called with the shards done."""
    found: list[DataFinding] = []
    reports: list[EpisodeReport] = []
    for done, shard in enumerate(shards_below(root, META_FILE), 1):
        where = str(shard.relative_to(root))
        try:
            robot = str(read_meta(shard / META_FILE).get("robot", "vx300s"))
            arrays, texts = read_shard(shard)
        except (ValueError, FileNotFoundError) as error:
            says = str(error).replace(f"{root}/", "")
            found.append(
                fault("unreadable", says, RESTORE, episode=len(reports), frame=0, where=where)
            )
            continue
        uneven = {n: len(a) for n, a in arrays.items() if len(a) != len(texts)}
        if uneven or "episode" not in arrays:
            says = f"its arrays have {uneven or 'no episode'} rows, its texts {len(texts)}"
            found.append(
                fault("false_length", says, RESTORE, episode=len(reports), frame=0, where=where)
            )
            continue
        reports += _episodes(arrays, texts, robot, len(reports))
        tell(done)
    found += [f for r in reports for f in r.findings]
    found += [*check_swapped(reports), *check_mixed(reports), *check_frozen(reports)]
    found += [*check_lengths(reports, FPS), *check_constant(reports)]
    return root_causes(found)


def _episodes(
    arrays: dict[str, Array], texts: list[list[str]], robot: str, begin: int
) -> Iterator[EpisodeReport]:
    bounds, names = _known(robot, arrays["state"].shape[1] if "state" in arrays else 0)
    order = arrays["episode"]
    for place, which in enumerate(dict.fromkeys(order.tolist())):
        where = np.flatnonzero(order == which)
        number = begin + place
        columns = {STATE: arrays["state"][where]} if "state" in arrays else {}
        if "action" in arrays:
            columns[ACTION] = arrays["action"][where]
        if "t" in arrays:
            columns["frame_index"] = arrays["t"][where]
        rows = EpisodeRows(number, columns, names, FPS)
        found = list(check_rows(rows, bounds))
        first = texts[int(where[0])]
        if not first or not first[0].strip():
            found.append(fault("task", "has no sentence", RESTORE, frame=0))
        cameras, still = {}, []
        for camera, pixels in _views(arrays).items():
            seen = CameraPass(camera, rows)
            for row in where:
                seen.add(thumbnail(np.ascontiguousarray(pixels[row])))
            summary = seen.end()
            if summary is not None:
                found += seen.findings()
                cameras[camera] = summary
                still += seen.still
        yield EpisodeReport(
            episode=number,
            findings=tuple(in_episode(found, number)),
            length=len(where),
            robot=robot,
            sums=sums_by_feature(rows, {}),
            names=names,
            still=tuple(still),
            cameras=cameras,
        )


def _views(arrays: dict[str, Array]) -> dict[str, Array]:
    """Camera -> uint8[n, h, w, 3]; a robot with several arms has a wrist camera for each."""
    found = {}
    for name in IMAGES:
        pixels = arrays.get(name)
        if pixels is not None and pixels.ndim == 4:
            found[name] = pixels
        elif pixels is not None and pixels.ndim == 5:
            sides = ("left", "right") if pixels.shape[1] == 2 else range(pixels.shape[1])
            found |= {f"{side} {name}": pixels[:, i] for i, side in enumerate(sides)}
    return found


def _known(robot: str, width: int) -> tuple[ColumnBounds, dict[str, tuple[str, ...]]]:
    """Limits and names of a shipped robot's state; actions are steps without names there."""
    if robot not in embodiment_names():
        return UNKNOWN, {}
    known = load_embodiment(robot)
    if len(known.state_names) != width:
        return UNKNOWN, {}
    return bounds_of(known), {STATE: known.state_names}
