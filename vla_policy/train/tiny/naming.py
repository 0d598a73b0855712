"""`python -m vla_policy.train.tiny.naming`: a head that tells what is to be seen, trained on the frozen tower of a checkpoint.

Scenes are rendered from a seed of their own, with the arm as it waits and as it works; the head sees every
pair of colour and shape, also those that the policy itself was never trained on. The least score of each robot is set on
further scenes so that at most REFUSED of the things and colours that are there are refused.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from vla_policy.families.language import FILE
from vla_policy.formats.native.language import write_naming
from vla_policy.models.naming import STRIDE, Naming, NamingConfig
from vla_policy.models.pointing import COLOURS as N_COLOURS
from vla_policy.models.pointing import SHAPES as N_SHAPES
from vla_policy.models.pointing import PointingTower
from vla_policy.parsing.json_document import write_json
from vla_policy.policy import load_policy
from vla_policy.sim.demonstrations.start_poses import place_like_demonstration
from vla_policy.sim.scenes.scene import COLOURS, SHAPES, sample_scene
from vla_policy.sim.world.world import World
from vla_policy.train.loop import total
from vla_policy.train.tiny.pointing import to_images

TRAIN, MEASURE = 600_000, 700_000  # first seeds of scenes
SPLITS = ("train", "unseen_pairs", "other_table", "moved_camera")
REFUSED = {"thing": 0.01, "colour": 0.003}  # at most this part of what is there
RAYCAST = 0.12  # part of the pictures that the CPU ray caster draws
ON, OFF = 0.03, 0.075  # of the image side, from the middle of a thing: on it, and beside it
BATCH = 32


@dataclass(frozen=True, slots=True)
class Pictures:
    """front: uint8[n, h, w, 3]. uv: float64[n, k, 2] middles of the k things. colour, shape: int[n, k]."""

    front: np.ndarray
    uv: np.ndarray
    colour: np.ndarray
    shape: np.ndarray


def render(robot: str, first: int, count: int, *, works: bool = True) -> Pictures:
    """count scenes from seed first on, each with the arm at its start and, if works, at work."""
    worlds = {kind: World(renderer=kind, robot=robot) for kind in ("auto", "raycast")}
    rows: list[tuple[np.ndarray, ...]] = []
    for i in range(count):
        scene = sample_scene(first + i, split=SPLITS[i % len(SPLITS)], robot=robot)
        for at_work in (False, True)[: 1 + works]:
            rng = np.random.default_rng([first + i, 7, at_work])
            world = worlds["raycast" if rng.random() < RAYCAST else "auto"]
            if at_work:
                place_like_demonstration(world, scene, rng)
            else:
                world.reset(scene)
            truth = world.truth()
            objects = truth.scene.objects
            rows.append(
                (
                    world.render("front", 96, 96),
                    world.project("front", truth.object_xyz),
                    np.array([COLOURS.index(o.colour) for o in objects]),
                    np.array([SHAPES.index(o.shape) for o in objects]),
                )
            )
    return Pictures(*(np.stack(column) for column in zip(*rows, strict=True)))


def train(tower: PointingTower, pictures: list[Pictures], steps: int, seed: int) -> Naming:
    """A head of random weights, trained; the robots' pictures in turn."""
    torch.manual_seed(seed)
    naming = Naming(NamingConfig(tower.config.channels[2]))
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
        whole = total((loss * part).sum() / part.sum().clamp(min=1) for part in goal[2:])
        optimiser.zero_grad()
        whole.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 199:
            print(f"{step + 1} {whole.item():.3f}", flush=True)
    return naming.eval()


def targets(pictures: Pictures, index: np.ndarray, side: int) -> tuple[torch.Tensor, ...]:
    """Class of colour and of shape at each place, int64[b, p], and bool[b, p]: on a thing; beside all things."""
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


def measure(
    tower: PointingTower, naming: Naming, pictures: Pictures
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores of what is there and of what is not: of pairs, shapes and colours."""
    pairs = tuple((c, s) for c in range(N_COLOURS) for s in range(N_SHAPES))
    named: dict[str, tuple[tuple[int | None, int | None], ...]] = {
        "pair": pairs,
        "shape": tuple((None, s) for s in range(N_SHAPES)),
        "colour": tuple((c, None) for c in range(N_COLOURS)),
    }
    found = {}
    for kind, options in named.items():
        scores = []
        with torch.inference_mode():
            for start in range(0, len(pictures.front), 50):
                images = to_images(pictures.front[start : start + 50], None)
                scores.append(naming.scores(images, tower.front.stem(images), options))
        score = torch.cat(scores).numpy()
        there = np.stack(
            [
                (
                    (pictures.colour == (pictures.colour if c is None else c))
                    & (pictures.shape == (pictures.shape if s is None else s))
                ).any(1)
                for c, s in options
            ],
            1,
        )
        found[kind] = score[there], score[~there]
    return found


def main() -> int:
    """Train, set the least scores, write both beside the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the checkpoint, with its language.json")
    parser.add_argument("--scenes", type=int, default=2000, help="of each robot")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    language = json.loads((args.folder / FILE).read_text())
    tower = load_policy(str(args.folder), embodiment=next(iter(language))).checkpoint.model.vision
    pictures = [render(robot, TRAIN, args.scenes) for robot in language]
    naming = train(tower, pictures, args.steps, args.seed)
    for robot, said in language.items():
        held_out = render(robot, MEASURE, 400, works=False)
        scores = measure(tower, naming, held_out)
        right = {"thing": scores["pair"][0], "colour": scores["colour"][0]}
        said["least"] = {k: round(float(np.quantile(v, REFUSED[k])), 4) for k, v in right.items()}
        for kind, (there, absent) in scores.items():
            least = said["least"]["colour" if kind == "colour" else "thing"]
            refused, accepted = (there < least).mean(), (absent >= least).mean()
            print(
                f"{robot} {kind}: {refused:.1%} of {len(there)} that are there refused, "
                f"{accepted:.1%} of {len(absent)} that are not accepted; least {least:g}"
            )
    write_json(args.folder / FILE, language)
    write_naming(args.folder, naming)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
