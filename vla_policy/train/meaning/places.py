"""Trains the tower of `tiny` to locate boxes with pictures near a given image location.

Its features and their values stay unchanged, so that language model and heads work as before;
trained are the layers that turn them into positions, and more slowly those that find tray and pad
among white boxes, together with plain scenes and trained sentences.
"""

from __future__ import annotations

import numpy as np
import torch
from rich.progress import track
from tokenizers import Tokenizer
from torch import Tensor

from vla_policy.data.frames import Frames
from vla_policy.data.web.concepts import of_role
from vla_policy.data.web.pictures import WebPictures
from vla_policy.families.tiny import pointing_training
from vla_policy.families.tiny.meaning import PLANS
from vla_policy.families.tiny.tiny import fit_square
from vla_policy.models import tokenizer
from vla_policy.models.pointing import POINTERS, PointingTower, around
from vla_policy.sim.demonstrations.labels import (
    QUERIES,
    Frame,
    label_frame,
    sample_queries,
)
from vla_policy.sim.demonstrations.start_poses import place_like_demonstration
from vla_policy.sim.scenes.cards import card_scene, draw_card, named_task
from vla_policy.sim.scenes.scene import sample_scene
from vla_policy.sim.twin import IMAGE_PX
from vla_policy.sim.world.world import World
from vla_policy.train.meaning.pictures import ROBOT_STYLE, SIDE_PX
from vla_policy.train.optimiser import take_step
from vla_policy.train.tiny.pictures import to_images

LEARNS = ("place", "wrist.key", "wrist_query", "wrist_expect", "wrist_bias", "wrist_place")
FINDS, SLOWER = ("queries", "front.key"), 0.3
NEAR_SIGMA = 0.012  # error of an image location from the pre-trained encoders
RATE, BATCH = 1e-3, 24
_WHERE = (None, "tray", "pad")


def make_frames(web: WebPictures, first: int, count: int, *, cards: bool) -> Frames:
    """Frames as input of `small`: rendered large, then scaled down for the tower."""
    world = World(renderer="auto")
    known = [web.concepts.index(c) for c in of_role(web.concepts, "robot")]
    frames: list[Frame] = []
    texts: list[list[str]] = []
    for seed in track(range(first, first + count), "frames"):
        rng = np.random.default_rng([seed, 13])
        if cards:
            things = rng.choice(known, 3, replace=False)
            drawn = [draw_card(web, int(thing), ROBOT_STYLE, rng) for thing in things]
            scene = card_scene(seed, drawn)
            where = [_WHERE[i % 3] for i in range(QUERIES)]
            plans = [PLANS["pick" if w is None else w] for w in where]
            tasks = [named_task(scene, i // 2, plans[i], where[i]) for i in range(QUERIES)]
            place_like_demonstration(world, scene, rng)
        else:
            scene = sample_scene(seed)
            place_like_demonstration(world, scene, rng)
            tasks = sample_queries(scene, world.truth().object_xyz, rng, QUERIES)
        frame = label_frame(world, tasks)
        for camera in ("front", "wrist"):
            frame[camera] = fit_square(world.render(camera, SIDE_PX, SIDE_PX), IMAGE_PX)
        frames.append(frame)
        texts.append([task.instruction for task in tasks])
    world.close()
    stacked = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
    images = (stacked.pop("front"), stacked.pop("wrist"))
    return Frames((images,), np.array([0]), stacked, texts)


def train(
    tower: PointingTower, tokens: Tokenizer, boxes: Frames, plain: Frames, *,
    steps: int, length: int, seed: int,
) -> None:  # fmt: skip
    """Train in place what LEARNS and FINDS name, on equal parts of both."""
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_(name.startswith((*LEARNS, *FINDS)))
    named = dict(tower.named_parameters())
    groups = [
        {"params": [p for name, p in named.items() if name.startswith(kind)]}
        for kind in (LEARNS, FINDS)
    ]
    rates = [RATE, SLOWER * RATE]
    optimiser = torch.optim.AdamW(groups, RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, steps, pct_start=0.1)
    for step in track(range(steps), "places"):
        rng = np.random.default_rng([seed, step, 17])
        frames = boxes if step % 2 else plain
        parts = losses(tower, tokens, frames, rng.integers(0, len(frames), BATCH), length, rng)
        kinds = ("xyz", "heat", "wrist", "wrist_heat", "visible")
        loss = torch.stack([parts[kind] for kind in kinds]).sum()
        take_step(loss, optimiser, schedule, clip=tower.parameters())
        if step % 40 < 2:
            kind = "boxes" if step % 2 else "plain"
            print(kind, step, {k: round(v.item(), 4) for k, v in parts.items()}, flush=True)


def losses(
    tower: PointingTower,
    tokens: Tokenizer,
    frames: Frames,
    index: np.ndarray,
    length: int,
    rng: np.random.Generator | None,
) -> dict[str, Tensor]:
    """The tower's losses; boxes are searched near their location."""
    a = frames.arrays
    front, wrist = (to_images(images, rng) for images in frames.images(index))
    said = [
        [tokenizer.encode(tokens, tokenizer.clean(t), length) for t in frames.texts[i]]
        for i in index
    ]
    words = torch.tensor(said)
    words = words[..., : int((words != 0).sum(-1).max())]
    if rng is not None:
        seeds = rng.integers(2**62, size=len(index))
        words = pointing_training.unknown_words(words, tokens, [torch.Generator().manual_seed(int(s)) for s in seeds])  # fmt: skip
    tool = torch.from_numpy(a["state"][index][:, [0, 1, 2, 7]]).float()
    where = None
    if (a["target_colour"][0] < 0).any():
        uv = a["front_uv"][index][:, :, 0]
        noise = 0.0 if rng is None else rng.normal(0, NEAR_SIGMA, uv.shape)
        near = torch.from_numpy(np.nan_to_num(uv + noise, nan=0.5)).float()
        where = around(tower.front.uv, near)
    seen = tower.look(front, words, where=where)
    answer = tower.look_closer(seen, wrist, tool)
    at = tool[:, :3].repeat_interleave(words.shape[1], 0)
    return pointing_training.arm_parts(tower, answer, _truth(frames, index), at)


def _truth(frames: Frames, index: np.ndarray) -> dict[str, Tensor]:
    """The labels of all sentences of some frames."""
    a = frames.arrays
    xyz = np.stack([a[f"{p}_xyz"][index] for p in POINTERS], 2).reshape(-1, 3, 3)
    return {
        "xyz": torch.from_numpy(xyz).float(),
        "uv": torch.from_numpy(a["front_uv"][index].reshape(-1, 3, 2)).float(),
        "wrist_uv": torch.from_numpy(a["wrist_uv"][index].reshape(-1, 2)).float(),
        "wrist_visible": torch.from_numpy(a["wrist_visible"][index].reshape(-1)).bool(),
        "colour": torch.from_numpy(a["target_colour"][index].reshape(-1)).long(),
        "shape": torch.from_numpy(a["target_shape"][index].reshape(-1)).long(),
        "size": torch.from_numpy(a["target_size"][index].reshape(-1)).float(),
    }
