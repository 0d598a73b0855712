"""What `small` answers to questions about the table: whether a thing is there, and what there is.

    python benchmarks/meaning_questions.py --policy small --web data/web --count 50 --out benchmarks/meaning_questions.json

Scenes of the suite rt2: three boxes with pictures, known from pictures and names alone, and plain objects beside them.
"""

import argparse
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from meaning_pointing import SIDE_PX, share

from vla_policy.data.web.concepts import held_out
from vla_policy.data.web.pictures import load
from vla_policy.evaluate.rt2 import COLUMNS, rt2_trial
from vla_policy.families.tiny import answers
from vla_policy.policy import load_local
from vla_policy.sim.world.world import World


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="small")
    parser.add_argument("--web", type=Path, default=Path("data/web"))
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = load_local(args.policy, embodiment="vx300s").checkpoint
    names_of = checkpoint.language.named if checkpoint.language is not None else ()
    known = [c.name for c in held_out(load(args.web).concepts, "web")]
    world = World(renderer="auto")
    yes, no, named, told, counted = [], [], [], [], []
    for index in range(args.count):
        scene, _ = rt2_trial(COLUMNS["rt2_web"], args.seed, index, web=args.web)
        world.reset(scene)
        picture = world.render("front", SIDE_PX, SIDE_PX)
        there = [item.name for item in scene.objects]
        rng = np.random.default_rng([args.seed, index, 61])
        other = str(rng.choice([name for name in known if name not in there]))
        with torch.inference_mode():
            yes.append(_says_yes(answers.answer(checkpoint, picture, f"is there a {there[0]}?")))
            no.append(not _says_yes(answers.answer(checkpoint, picture, f"is there a {other}?")))
            seen = answers.things_there(checkpoint, picture) if names_of else []
        if not names_of:
            continue
        names = [names_of[n] for n in seen if n is not None]
        named += [name in names for name in there]
        told += [name in there for name in names]
        counted.append(len(seen) == len(there))
    report = {
        "command": " ".join(["python", "benchmarks/meaning_questions.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, one thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "seed": args.seed,
        "found": {
            "is there, of what is there: yes": share(yes),
            "is there, of what is not there: no": share(no),
        },
    }
    if names_of:
        report["found"] |= {
            "what is on the table: things that are named": share(named),
            "what is on the table: names that are right": share(told),
            "what is on the table: right number of things": share(counted),
        }
    print(json.dumps(report["found"], indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


def _says_yes(answer: str) -> bool:
    return answer.startswith("yes")


if __name__ == "__main__":
    main()
