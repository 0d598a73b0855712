"""Where a head of pre-trained encoders looks first, for every column of the suite rt2 and for the held-out sentences.

    python benchmarks/meaning_pointing.py --heads small --web data/web --count 100 --out benchmarks/meaning_pointing.json
    python benchmarks/meaning_pointing.py --heads new=runs/meaning/wide_0.safetensors small --web data/web --count 100

Right: of the three things, the one whose place in the image is nearest to where it looks is the named one. Chance is a third.
"""

import argparse
import json
import platform
import sys
from dataclasses import replace
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
from vla_policy.families.tiny import meaning
from vla_policy.models import config, encoders
from vla_policy.models.wide import INTENTS, WidePointing
from vla_policy.policy import load_local
from vla_policy.sim.scenes.scene import Scene
from vla_policy.sim.world.world import World

HERE = Path(__file__).parent
SIDE_PX = 224
AGAIN = 7  # more scenes of each sentence that says what is not meant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", nargs="+", required=True, help="NAME=FILE, or a shipped policy")
    parser.add_argument("--web", type=Path, default=Path("data/web"))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument(
        "--columns", nargs="*", help="of the suite rt2, pairs, sentences, absent; default: all"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    heads = read_heads(args.heads)
    world = World(renderer="auto")
    found: dict[str, Any] = {name: {} for name in heads}
    wanted = args.columns or [*COLUMNS, *PARTS]
    for name, column in COLUMNS.items():
        if name not in wanted:
            continue
        rows = [rt2_trial(column, args.seed, i, web=args.web) for i in range(args.count)]
        seen = [look(world, heads, scene, [task.instruction]) for scene, task in rows]
        for head in heads:
            right = [one[head][0]["nearest"] == task.target for one, (_, task) in zip(seen, rows, strict=True)]  # fmt: skip
            refused = [one[head][0]["refused"] for one in seen]
            found[head][f"{name}: refused"] = share(refused)
            if not column.absent:
                found[head][name] = share(right)
            print(head, name, share(right), "refused", share(refused), flush=True)
    for name, measure in PARTS.items():
        if name in wanted:
            measure(world, heads, args, found)
    report = {
        "command": " ".join(["python", "benchmarks/meaning_pointing.py", *sys.argv[1:]]),
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


def read_heads(named: list[str]) -> dict[str, WidePointing]:
    """The heads of files, NAME=FILE each, and of policies, NAME each."""
    heads = {}
    for one in named:
        name, _, path = one.partition("=")
        heads[name] = (
            read_head(Path(path))
            if path
            else load_local(name, embodiment="vx300s").checkpoint.model.vision.wide
        )
    return heads


def read_head(path: Path) -> WidePointing:
    """The head of a file."""
    sizes = config.small(1).pointing.wide
    if sizes is None:
        raise ValueError("small: got no encoders")
    weights = load_file(path)
    reads = sizes.reads if "reader.number.weight" in weights else 0
    head = WidePointing(replace(sizes, known=len(weights["known"]), reads=reads))
    head.load_state_dict(weights)
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
    answers: dict[str, list[dict[str, Any]]] = {}
    for name, head in heads.items():
        keys = head.keys(features)
        answers[name] = []
        for one in said:
            read = meaning.read(head, one, torch.device("cpu"))
            obeyed = isinstance(read, meaning.Meaning)
            found = read if isinstance(read, meaning.Meaning) else meaning.Meaning("", encoders.sentence_vector(one.lower()))  # fmt: skip
            closer, most = meaning.closer_of(head, image, found), meaning.most_places(found)
            text = found.vector[None, None]
            uv = head.point(keys, text, closer=closer, most=most).uv[0, 0].numpy()
            there = bool(head.presence(keys, text, closer, most)[0, 0] >= 0)
            answers[name].append(
                {
                    "nearest": int(np.linalg.norm(places - uv, axis=1).argmin()),
                    "there": there,
                    "obeyed": obeyed,
                    "refused": not there or not obeyed,
                    "intent": INTENTS[
                        int(head.intents(encoders.sentence_vector(one.lower())).argmax())
                    ],
                }
            )
    return answers


def pairs(
    world: World, heads: dict[str, WidePointing], args: argparse.Namespace, found: dict[str, Any]
) -> None:
    """Colour and shape that were never seen together."""
    trials = [trial(SUITES["unseen_pairs"], args.seed, 4 * i) for i in range(args.count)]
    named = [(s, f"pick up the {s.objects[t.target].name}", t.target) for s, t in trials]
    seen = [look(world, heads, scene, [said]) for scene, said, _ in named]
    for head in heads:
        right = [one[head][0]["nearest"] == t for one, (_, _, t) in zip(seen, named, strict=True)]
        found[head]["pairs never seen"] = share(right)


def sentences(
    world: World, heads: dict[str, WidePointing], args: argparse.Namespace, found: dict[str, Any]
) -> None:
    """The held-out forms about things known from pictures alone: intent, place and both; and what is no command."""
    held = json.loads((HERE / "meaning_holdouts.json").read_text())
    rows = []
    asked = held["sentences"] * max(1, args.count // len(held["sentences"]))
    asked += [s for s in held["sentences"] if s["kind"] in ("negation", "correction")] * AGAIN
    for i, form in enumerate(asked):
        scene, task = rt2_trial(COLUMNS["rt2_web"], args.seed, i, web=args.web)
        names = [item.name for item in scene.objects]
        said = form["sentence"].format(x=f"the {names[0]}", y=f"the {names[1]}", bare=names[0])
        rows.append((form, task, look(world, heads, scene, [said])))
    for head in heads:
        for kind in sorted({form["kind"] for form, _, _ in rows}):
            mine = [(f, t, s[head][0]) for f, t, s in rows if f["kind"] == kind]
            found[head][f"sentences, {kind}"] = {
                "place": share([s["nearest"] == t.target for _, t, s in mine]),
                "obeyed and wrong": share(
                    [s["nearest"] != t.target and not s["refused"] for _, t, s in mine]
                ),
                "refused": share([s["refused"] for _, _, s in mine]),
                "intent": share([s["intent"] == (f["destination"] or "pick") for f, _, s in mine]),
            }
        scene, _ = rt2_trial(COLUMNS["rt2_web"], args.seed, 0, web=args.web)
        told = look(world, heads, scene, held["senseless"])[head]
        found[head]["senseless refused by words or by looking"] = share(
            [one["refused"] for one in told]
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
                [t[head][0]["refused"] for t in told]
            )
            found[head][f"{name}: not there, refused"] = share(
                [t[head][1]["refused"] for t in told]
            )


PARTS = {"pairs": pairs, "sentences": sentences, "absent": absent}


def share(right: list[bool]) -> str:
    """As text with its 95 % interval."""
    low, high = wilson(sum(right), len(right))
    return f"{sum(right)}/{len(right)} = {100 * sum(right) / max(len(right), 1):.1f} % ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()
