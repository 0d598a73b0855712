"""Where a head of pre-trained encoders looks first, for every column of the suite rt2 and for the held-out sentences.

    python benchmarks/meaning_pointing.py --heads with=runs/meaning/wide_0.safetensors \
        without=runs/meaning/narrow_0.safetensors --web data/web --count 200 --out benchmarks/meaning_pointing.json

Right: of the three things, the one whose place in the image is nearest to where it looks is the named one. Chance is a third.
"""

import argparse
import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from vla_policy.data.web.pictures import load
from vla_policy.evaluate.metrics import wilson
from vla_policy.evaluate.rt2 import COLUMNS, rt2_trial
from vla_policy.evaluate.suites import SUITES, trial
from vla_policy.models import config, encoders
from vla_policy.models.wide import INTENTS, WidePointing
from vla_policy.sim.scenes.scene import Scene
from vla_policy.sim.world.world import World

HERE = Path(__file__).parent
SIDE_PX = 224


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", nargs="+", required=True, help="NAME=FILE")
    parser.add_argument("--web", type=Path, default=Path("data/web"))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    heads = {name: read_head(Path(path)) for name, path in (h.split("=") for h in args.heads)}
    world = World(renderer="auto")
    found: dict[str, Any] = {name: {} for name in heads}
    for name, column in COLUMNS.items():
        rows = [rt2_trial(column, args.seed, i, web=args.web) for i in range(args.count)]
        seen = [look(world, heads, scene, [task.instruction]) for scene, task in rows]
        for head in heads:
            right = [one[head][0]["nearest"] == task.target for one, (_, task) in zip(seen, rows, strict=True)]  # fmt: skip
            refused = [not one[head][0]["there"] for one in seen]
            found[head][f"{name}: refused"] = share(refused)
            if column.absent:
                continue
            found[head][name] = share(right)
            print(head, name, share(right), "refused", share(refused), flush=True)
    pairs = [trial(SUITES["unseen_pairs"], args.seed, 4 * i) for i in range(args.count)]
    named = [(s, f"pick up the {s.objects[t.target].name}", t.target) for s, t in pairs]
    seen = [look(world, heads, scene, [said]) for scene, said, _ in named]
    for head in heads:
        right = [one[head][0]["nearest"] == t for one, (_, _, t) in zip(seen, named, strict=True)]
        found[head]["pairs never seen"] = share(right)
    sentences(world, heads, args, found)
    absent(world, heads, args, found)
    report = {
        "command": "python benchmarks/meaning_pointing.py " + " ".join(args.heads),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, one thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "count": args.count,
        "seed": args.seed,
        "found": found,
    }
    print(json.dumps(found, indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def read_head(path: Path) -> WidePointing:
    """The head of a file."""
    sizes = config.small(1).pointing.wide
    if sizes is None:
        raise ValueError("small: got no encoders")
    head = WidePointing(sizes)
    head.load_state_dict(load_file(path))
    return head.eval()


@torch.inference_mode()
def look(
    world: World, heads: dict[str, WidePointing], scene: Scene, said: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """Of each head and sentence: number of the nearest thing, score and intent."""
    world.reset(scene)
    image = world.render("front", SIDE_PX, SIDE_PX)
    features = encoders.features(image[None])
    places = world.project("front", world.truth().object_xyz + np.array([0.0, 0.0, 0.012]))
    text = torch.stack([encoders.sentence_vector(one.lower()) for one in said])
    answers = {}
    for name, head in heads.items():
        keys, intents = head.keys(features), head.intents(text).softmax(-1)
        closer = encoders.closer_look(head.crops, image, head.crop_px)
        seen = head.point(keys, text[None], closer=closer)
        told = head.presence(keys, text[None], closer)
        answers[name] = [
            {
                "nearest": int(np.linalg.norm(places - seen.uv[0, i].numpy(), axis=1).argmin()),
                "there": bool(told[0, i] >= 0),
                "intent": INTENTS[int(intents[i].argmax())],
            }
            for i in range(len(said))
        ]
    return answers


def sentences(
    world: World, heads: dict[str, WidePointing], args: argparse.Namespace, found: dict[str, Any]
) -> None:
    """The held-out forms about things known from pictures alone: intent, place and both; and what is no command."""
    held = json.loads((HERE / "meaning_holdouts.json").read_text())
    rows = []
    for i, form in enumerate(held["sentences"] * max(1, args.count // len(held["sentences"]))):
        scene, task = rt2_trial(COLUMNS["rt2_web"], args.seed, i, web=args.web)
        names = [item.name for item in scene.objects]
        said = form["sentence"].format(x=f"the {names[0]}", y=f"the {names[1]}", bare=names[0])
        rows.append((form, task, look(world, heads, scene, [said])))
    for head in heads:
        for kind in sorted({form["kind"] for form, _, _ in rows}):
            mine = [(f, t, s[head][0]) for f, t, s in rows if f["kind"] == kind]
            found[head][f"sentences, {kind}"] = {
                "place": share([s["nearest"] == t.target for _, t, s in mine]),
                "intent": share([s["intent"] == (f["destination"] or "pick") for f, _, s in mine]),
            }
        scene, _ = rt2_trial(COLUMNS["rt2_web"], args.seed, 0, web=args.web)
        told = look(world, heads, scene, held["senseless"])[head]
        found[head]["senseless refused by words or by looking"] = share(
            [one["intent"] == "nothing" or not one["there"] for one in told]
        )


def absent(
    world: World, heads: dict[str, WidePointing], args: argparse.Namespace, found: dict[str, Any]
) -> None:
    """Things that are there and things that are not, said in the same scene."""
    pictures = load(args.web)
    for name in ("rt2_seen", "rt2_web"):
        told = []
        others = [c.name for c in pictures.concepts if c.role == COLUMNS[name].role]
        for i in range(args.count):
            scene, _ = rt2_trial(COLUMNS[name], args.seed, i, web=args.web)
            names = [item.name for item in scene.objects]
            rng = np.random.default_rng([args.seed, i, 9])
            other = str(rng.choice([o for o in others if o not in names]))
            told.append(
                look(world, heads, scene, [f"pick up the {names[0]}", f"pick up the {other}"])
            )
        for head in heads:
            found[head][f"{name}: there, but refused"] = share(
                [not t[head][0]["there"] for t in told]
            )
            found[head][f"{name}: not there, refused"] = share(
                [not t[head][1]["there"] for t in told]
            )


def share(right: list[bool]) -> str:
    """As text with its 95 % interval."""
    low, high = wilson(sum(right), len(right))
    return f"{sum(right)}/{len(right)} = {100 * sum(right) / max(len(right), 1):.1f} % ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()
