"""Demonstrations of the twin are recorded as a data set and replayed through the guard: benchmarks/replay.json.

    python benchmarks/replay.py [COUNT]

The scripted expert demonstrates through plan and guard; each command that went out becomes the set's action. The set is
then read again, each scene put as it was drawn, and the actions are played as chunks of a person. Physics judges both.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from vla_policy.data.frame import Frame
from vla_policy.data.lerobot import layout as names
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.writer import SetWriter
from vla_policy.data.replay import EVERY_S, chunk_at, replay_of, too_far
from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import measured_action
from vla_policy.evaluate.closed_loop import ControlLoop
from vla_policy.evaluate.expert_policy import STEP_NS, expert_rows
from vla_policy.runtime.control_mode import TELEOPERATED
from vla_policy.sim.scenes.scene import sample_scene
from vla_policy.sim.tasks.judge import Judge
from vla_policy.sim.tasks.tasks import sample_task
from vla_policy.sim.world.world import World
from vla_policy.types import ActionChunk

OUT = Path(__file__).with_suffix(".json")
FPS, TICKS = 10, 5  # frames a second of the set, commands a frame
LONGEST_S = 20.0
AFTER_S = 1.0  # what was let go comes to rest
ROBOT = load_embodiment("vx300s")


def drawn(seed: int):
    """(scene, task) of a seed; the same every time."""
    scene = sample_scene(seed)
    return scene, sample_task(scene, np.random.default_rng([seed, 1]))


def ready(world: World, seed: int, *, mode: str):
    """(loop, judge, task) of a robot that is engaged and stands in the scene of a seed."""
    scene, task = drawn(seed)
    world.reset(scene)
    loop = ControlLoop(world, ROBOT, mode=mode)
    for _ in range(TICKS):
        loop.step()
    return loop, Judge(task, world.truth()), task


def demonstrate(world: World, copy: World, seed: int):
    """(actions float64[n, d], states, success) of the expert in the scene of a seed."""
    loop, judge, task = ready(world, seed, mode="autonomous")
    actions, states, left, result = [], [], None, judge.update(world.truth())
    for tick in range(round(LONGEST_S * FPS * TICKS)):
        if tick % 15 == 0 and left is None:
            copy.copy_from(world)
            rows, done = expert_rows(copy, task)
            chunk = ActionChunk(rows, ROBOT.action_names, world.time_ns, STEP_NS, 0, "")
            loop.send(chunk, 0)
            left = round(AFTER_S * FPS * TICKS) if done else None
        if tick % TICKS == 0:
            states.append(measured_action(loop.layout, world.robot_state()))
        loop.step()
        result = judge.update(world.truth())
        if tick % TICKS == TICKS - 1:
            here = measured_action(loop.layout, world.robot_state())
            actions.append(here if loop.sent is None else loop.sent)
        if left is not None:
            left -= 1
            if left <= 0 and tick % TICKS == TICKS - 1:
                break
    return np.array(actions), np.array(states), bool(result.ever_success)


def replayed(world: World, seed: int, actions, columns, name: str) -> tuple[bool, dict[str, int]]:
    """Whether the actions succeed in the scene of the seed, and what the guard did."""
    loop, judge, _ = ready(world, seed, mode=TELEOPERATED)
    replay = replay_of(actions, columns, FPS, ROBOT, name)
    far = too_far(replay, measured_action(loop.layout, world.robot_state()))
    if far is not None:
        raise ValueError(far)
    start_ns, sequence, result = world.time_ns, 0, judge.update(world.truth())
    every = round(EVERY_S * FPS * TICKS)
    for tick in range(len(actions) * TICKS + round(AFTER_S * FPS * TICKS)):
        if tick % every == 0:
            chunk = chunk_at(replay, start_ns, world.time_ns, sequence)
            if chunk is not None:
                loop.send(chunk, world.time_ns - chunk.obs_ns)
                sequence += 1
        loop.step()
        result = judge.update(world.truth())
    held = {code: n for code, n in loop.interventions.items() if code != "no_teleop"}
    return bool(result.ever_success), held


def record(root: Path, count: int, first: int) -> list[int]:
    """Seeds of count demonstrations that succeeded, in the order of the set's episodes."""
    world, copy = World(renderer="raycast"), World(renderer="raycast")
    picture = np.zeros((16, 16, 3), np.uint8)
    seeds: list[int] = []
    with SetWriter(root, ROBOT, FPS) as writer:
        for seed in range(first, first + 3 * count):
            actions, states, success = demonstrate(world, copy, seed)
            if not success:
                continue
            writer.begin(drawn(seed)[1].instruction)
            for k, (action, state) in enumerate(zip(actions, states, strict=True)):
                images = dict.fromkeys(ROBOT.cameras, picture)
                frame = Frame(k * 10**9 // FPS + 1, images, state, action, np.full(8, np.nan),
                              "teleop", False, 0, True, "")  # fmt: skip
                writer.add(frame, wait=True)
            writer.save(True)
            seeds.append(seed)
            if len(seeds) == count:
                break
    return seeds


def measure(count: int, first: int = 70_000) -> dict:
    """The figures of count demonstrations, recorded and replayed."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        seeds = record(root, count, first)
        found, world = open_set(root), World(renderer="raycast")
        outcomes, acted = [], {}
        for episode, seed in enumerate(seeds):
            actions = found.rows(episode)[names.ACTION]
            success, held = replayed(
                world, seed, actions, found.action_names, f"episode {episode}"
            )
            outcomes.append(success)
            for code, n in held.items():
                acted[code] = acted.get(code, 0) + n
        failed = [seed for seed, success in zip(seeds, outcomes, strict=True) if not success]
    return {
        "demonstrations": len(seeds),
        "succeeded_again": sum(outcomes),
        "share": sum(outcomes) / max(1, len(outcomes)),
        "fps": FPS,
        "failed_scenes": failed,
        "guard_acted_ticks": acted,
    }


if __name__ == "__main__":
    figures = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    OUT.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
