"""`vla generate scenes|episodes|metaworld`: data sets from the simulations, deterministic by seed."""

from __future__ import annotations

import argparse
from pathlib import Path

from vla_policy.data.shards import shard_path
from vla_policy.sim.demonstrations.generate import DEFAULT_COUNT, SHARD_ROWS, make_shards
from vla_policy.sim.tasks.tasks import FAMILIES
from vla_policy.sim.twin import TWINS, find_twin

METAWORLD = "metaworld"
DEMONSTRATIONS = 50  # of each of its tasks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `vla generate`."""
    parser.add_argument("what", choices=sorted([*SHARD_ROWS, METAWORLD]), help="what to make")
    parser.add_argument("--robot", default="vx300s", choices=sorted(TWINS), help="whose twin")
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set")
    parser.add_argument(
        "--count", type=int, help="scenes or kept episodes; of metaworld, of each task"
    )
    parser.add_argument("--seed", type=int, default=0, help="0..9, one range of scenes each")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--split", default="train", help="train, or a held-out split")
    parser.add_argument(
        "--family", choices=FAMILIES, help="of the tasks of episodes; default: drawn"
    )
    parser.add_argument("--renderer", default="auto", help="auto, egl, osmesa or raycast")
    parser.add_argument(
        "--raycast-share", type=float, default=0.12, help="part drawn by the CPU ray caster"
    )


def run(args: argparse.Namespace) -> int:
    """Generate the missing shards; returns the exit status."""
    known = DEFAULT_COUNT | {METAWORLD: DEMONSTRATIONS}
    count = known[args.what] if args.count is None else args.count
    if count < 1:
        raise ValueError(f"--count: got {count}, expected >= 1")
    if not 0 <= args.seed <= 9:
        raise ValueError(f"--seed: got {args.seed}, expected 0 to 9")
    if args.what == METAWORLD:
        return _metaworld(args, count)
    families = find_twin(args.robot).families
    if args.family is not None and args.family not in families:
        raise ValueError(
            f"--family: got {args.family!r}, {args.robot} is told {', '.join(families)}"
        )
    args.out.mkdir(parents=True, exist_ok=True)
    per_shard = SHARD_ROWS[args.what]
    jobs = [
        (args.what, str(args.out), i, i * per_shard, min(per_shard, count - i * per_shard),
         args.seed, args.split, args.renderer, args.raycast_share, args.robot, args.family or "")
        for i in range(-(-count // per_shard))
        if not shard_path(args.out, i).exists()
    ]  # fmt: skip
    make_shards(jobs, args.workers, args.what)
    (args.out / "DONE").write_text(
        f"{args.what} count={count} seed={args.seed} split={args.split} robot={args.robot}\n"
    )
    return 0


def _metaworld(args: argparse.Namespace, count: int) -> int:
    """Shards of Meta-World's tasks, and OUT/start: an untrained policy for them."""
    from vla_policy.embodiment import load_embodiment
    from vla_policy.evaluate.suite_sources import require_offered
    from vla_policy.formats.native.folder import save
    from vla_policy.paths import config_dir
    from vla_policy.sim.demonstrations.metaworld import make
    from vla_policy.sim.metaworld import IMAGE_PX
    from vla_policy.sim.metaworld_tasks import MT50, ROBOT, sentence_of
    from vla_policy.train.tiny.robots import untrained

    if count > DEMONSTRATIONS:
        raise ValueError(f"--count: got {count}, expected at most its {DEMONSTRATIONS} goals")
    require_offered(["metaworld_mt50"], {})
    words = {word for name in MT50 for word in sentence_of(name).split()}
    robot = load_embodiment(config_dir() / "benchmarks" / f"{ROBOT}.yaml")
    save(args.out / "start", untrained(robot, words, IMAGE_PX))
    for failed in make(args.out, count, args.seed, args.workers):
        print(failed)
    return 0
