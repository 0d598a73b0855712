"""`python -m vla_policy.train.tiny.naming`: trains a checkpoint's head that names what is visible.

The tower stays frozen. Scenes are rendered from separate seeds, with the arm waiting and working;
the head sees every pair of colour and shape, also those that the policy itself was never trained
on. First the locations of objects are learned, then their classes (closer.py). The least scores
of each robot are set on further scenes so that at most REFUSED of the present objects are
refused; the share of absent objects that is then accepted is written beside them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from vla_policy.families.language import FILE
from vla_policy.formats.native.language import write_naming
from vla_policy.models.closer import Closer
from vla_policy.models.naming import STRIDE, Naming, NamingConfig
from vla_policy.models.pointing import COLOURS as N_COLOURS
from vla_policy.models.pointing import SHAPES as N_SHAPES
from vla_policy.models.pointing import PointingTower
from vla_policy.parsing.json_document import write_json
from vla_policy.policy import load_local
from vla_policy.train.optimiser import take_step
from vla_policy.train.tiny import closer
from vla_policy.train.tiny.closer import ELSEWHERE, Crops, crops_of, places_of
from vla_policy.train.tiny.pictures import Pictures, first, render, to_images

TRAIN, MEASURE = 600_000, 700_000  # first seeds of scenes
HELD_OUT = 1200  # of them, of each robot
REFUSED = {"thing": 0.025, "shape": 0.03, "colour": 0.002}  # at most this share of present objects
MOST = 0.9  # of a least score: above it scores of present objects differ by chance
ON, OFF = 0.03, 0.075  # of the image side, from the middle of an object: on it, and beside it
BATCH = 32


def train(
    tower: PointingTower, pictures: list[Pictures], steps: int, seed: int, begin: Naming | None
) -> Naming:
    """Naming with random weights or those of begin, trained; the robots' images in turn."""
    torch.manual_seed(seed)
    naming = begin or Naming(NamingConfig(tower.config.channels[2], closer=False))
    optimiser = torch.optim.AdamW(naming.parameters(), 3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    for step in range(steps):
        rng = np.random.default_rng((seed, step))
        some = pictures[step % len(pictures)]
        index = rng.integers(0, len(some.front), BATCH)
        images = to_images(some.front[index], rng)
        with torch.no_grad():
            features = tower.front.stem(images)
        colour, shape = (logits.flatten(2) for logits in naming(images, features))
        goal = targets(some, index, images.shape[-1] // STRIDE)
        loss = F.cross_entropy(colour, goal[0], reduction="none")
        loss = loss + F.cross_entropy(shape, goal[1], reduction="none")
        on, beside = ((loss * part).sum() / part.sum().clamp(min=1) for part in goal[2:])
        whole = on + beside
        take_step(whole, optimiser, schedule)
        if step % 200 == 199:
            print(f"{step + 1} {whole.item():.3f}", flush=True)
    return naming.eval()


def targets(pictures: Pictures, index: np.ndarray, side: int) -> tuple[torch.Tensor, ...]:
    """Classes of colour, of shape, int64[b, p], and bool[b, p]: on an object; beside all."""
    centre = (torch.arange(side) + 0.5) / side
    v, u = torch.meshgrid(centre, centre, indexing="ij")
    uv = torch.from_numpy(pictures.uv[index]).float()  # (b, k, 2)
    away = torch.stack((u, v), -1).reshape(-1, 2) - uv[:, :, None]  # (b, k, p, 2)
    near, which = away.norm(dim=-1).nan_to_num(9.0).min(1)
    colour, shape = (
        torch.from_numpy(a[index]).long().gather(1, which)
        for a in (pictures.colour, pictures.shape)
    )
    on = near < ON
    return torch.where(on, colour, N_COLOURS), torch.where(on, shape, N_SHAPES), on, near > OFF


def train_closer(
    tower: PointingTower,
    naming: Naming,
    pictures: list[Pictures],
    some: list[Pictures],
    *,
    steps: int,
    seed: int,
) -> Closer:
    """A second look, trained on objects and random positions in pictures; some is a subset."""
    rng = np.random.default_rng([seed, 6])
    parts = []
    for shown in pictures:
        anywhere = rng.random((len(shown.front), ELSEWHERE, 2))
        parts.append(crops_of(shown, np.concatenate((shown.uv, anywhere), 1)))
    parts += [crops_of(shown, places_of(tower, naming, shown.front)) for shown in some]
    columns = ((getattr(part, f.name) for part in parts) for f in fields(Crops))
    every = Crops(*(np.concatenate(list(column)) for column in columns))
    return closer.train(every, steps, seed, naming.closer)


def measure(
    tower: PointingTower, naming: Naming, pictures: Pictures
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores of present and absent objects: of colour-shape pairs, of shapes, of colours.

    Absent pairs only with a present colour, which their shape decides. Objects outside the image
    are neither.
    """
    kinds: dict[str, list[tuple[int | None, int | None]]] = {
        "thing": [(c, s) for c in range(N_COLOURS) for s in range(N_SHAPES)],
        "shape": [(None, s) for s in range(N_SHAPES)],
        "colour": [(c, None) for c in range(N_COLOURS)],
    }
    named = tuple(option for options in kinds.values() for option in options)
    scores = []
    with torch.inference_mode():
        for start in range(0, len(pictures.front), 50):
            images = to_images(pictures.front[start : start + 50], None)
            scores.append(naming.scores(images, tower.front.stem(images), named))
    score = dict(zip(named, torch.cat(scores).numpy().T, strict=True))
    shown = ((pictures.uv > 0) & (pictures.uv < 1)).all(-1)
    found = {}
    for kind, options in kinds.items():
        there, absent = [], []
        for c, s in options:
            of_colour = (pictures.colour == c) if c is not None else np.ones_like(shown)
            is_it = of_colour & ((pictures.shape == s) if s is not None else True)
            there.append(score[c, s][(is_it & shown).any(1)])
            other = of_colour.any(1) if kind == "thing" else True
            absent.append(score[c, s][~is_it.any(1) & other])
        found[kind] = np.concatenate(there), np.concatenate(absent)
    return found


def main() -> int:
    """Train, set the least scores, write both beside the weights; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the checkpoint, with its language.json")
    parser.add_argument("--scenes", type=int, default=2000, help="of each robot, for the places")
    parser.add_argument("--steps", type=int, default=2500, help="of the places")
    parser.add_argument("--begin", help="policy whose head this one begins with; default: random")
    parser.add_argument("--keep", action="store_true", help="the places of --begin as they are")
    parser.add_argument("--closer-scenes", type=int, default=10_000, help="of each robot, for the second look")  # fmt: skip
    parser.add_argument("--closer-steps", type=int, default=6000)
    parser.add_argument("--closer-of", help="policy whose second look is taken as it is; it sees pixels alone, of all its robots")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="train nothing, set the least scores only")  # fmt: skip
    args = parser.parse_args()
    torch.set_num_threads(1)
    language = json.loads((args.folder / FILE).read_text())
    checkpoint = load_local(str(args.folder), embodiment=next(iter(language))).checkpoint
    tower, naming = checkpoint.model.vision, checkpoint.naming
    if args.closer_of and naming is not None:
        other = load_local(args.closer_of, embodiment=next(iter(language))).checkpoint.naming
        if other is None or other.closer is None:
            raise ValueError(f"--closer-of: got {args.closer_of}, which has no second look")
        naming.closer = other.closer
        write_naming(args.folder, naming)
    elif not args.measure:
        naming = _trained(args, tower, language)
        write_naming(args.folder, naming)
    if naming is None:
        raise ValueError(f"{args.folder}: nothing in it looks, train it first")
    for robot, said in language.items():
        scores = measure(tower, naming, render(robot, MEASURE, HELD_OUT, works=False))
        least = {k: min(MOST, float(np.quantile(scores[k][0], v))) for k, v in REFUSED.items()}
        said["least"] = {k: round(v, 4) for k, v in least.items()}
        said["accepts"] = {}
        for kind, (there, absent) in scores.items():
            refused, accepted = (there < least[kind]).mean(), (absent >= least[kind]).mean()
            said["accepts"][kind] = round(float(accepted), 4)
            print(
                f"{robot} {kind}: {refused:.1%} of {len(there)} that are there refused, "
                f"{accepted:.1%} of {len(absent)} that are not accepted; least {least[kind]:g}"
            )
    write_json(args.folder / FILE, language)
    return 0


def _trained(args: argparse.Namespace, tower: PointingTower, robots: Iterable[str]) -> Naming:
    """A trained naming head for these robots."""
    robots, begin = list(robots), None
    if args.begin:
        begin = load_local(args.begin, embodiment=robots[0]).checkpoint.naming
    if args.keep and begin is None:
        raise ValueError("--keep: got no --begin with places to keep")
    pictures = [render(r, TRAIN, max(args.scenes, args.closer_scenes)) for r in robots]
    some = [first(p, 2 * args.scenes) for p in pictures]
    naming = begin
    if naming is None or not args.keep:
        naming = train(tower, some, args.steps, args.seed, begin)
    naming.closer = train_closer(tower, naming, pictures, some, steps=args.closer_steps, seed=args.seed)  # fmt: skip
    return naming


if __name__ == "__main__":
    raise SystemExit(main())
