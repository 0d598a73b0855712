"""`vla replay EPISODE --set FOLDER`: play recorded actions on the running robot or twin, through the same guard.

It begins only where the robot stands near the episode's first action, and pauses the robot at the end. On a
simulated robot the scene of the episode is put first, and the simulation judges.
"""

from __future__ import annotations

import argparse
import time

from vla_policy.commands.up import end_as_ctrl_c
from vla_policy.data.lerobot import layout as names
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.recorded_robot import require_same_units
from vla_policy.data.replay import replay_of
from vla_policy.data.scene import DrawnScene
from vla_policy.embodiment import Embodiment, load_embodiment
from vla_policy.ros.bringup import session
from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.replayer import play
from vla_policy.ros.operator.running_robot import running_robot
from vla_policy.ros.operator.trial import engage, wait_for_task
from vla_policy.ros.process.notes import namespace_of

FOUND_S, POLL_S = 5.0, 0.05
SETTLE_S = 1.0  # after setting a scene, and before judging it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla replay`."""
    parser.add_argument("episode", type=int, help="number of the episode, from 0")
    parser.add_argument("--set", required=True, metavar="FOLDER", help="of the data set")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="of another scene of the twin than the episode's own"
    )
    parser.add_argument("--engage", action="store_true", help="let commands through first")
    parser.add_argument("--domain", type=int, metavar="N", help="ROS domain of the robot")
    parser.add_argument("--namespace", help="of the robot's nodes")


def run(args: argparse.Namespace) -> int:
    """0 if all of it was executed, and in a simulated scene if the task succeeded."""
    found = open_set(args.set)
    if not 0 <= args.episode < len(found.entries):
        raise ValueError(
            f"episode: got {args.episode}, expected 0 to {len(found.entries) - 1} of {args.set}"
        )
    actions, task = found.rows(args.episode)[names.ACTION], found.task(args.episode)
    space = None if args.namespace is None else namespace_of(args.namespace)
    domain, space = session.join(args.domain, space)
    end_as_ctrl_c()
    with Client("replay", namespace=space) as client:
        running = running_robot(client, domain)
        robot = load_embodiment(running.embodiment)
        name = f"episode {args.episode} of {args.set}"
        require_robot(found.robot_type, found.robot_yaml, robot, name)
        replay = replay_of(actions, found.action_names, found.fps, robot, name)
        seed = args.seed
        if seed is None and running.use_sim_time:
            seed = seed_of(found.scene(args.episode), client, name)
        if seed is not None:
            if args.engage:
                client.engage(False)  # setting the scene moves the arm at once
            scene = client.set_scene(seed, task)
            print(scene.message)
            wait_for_task(client, scene.instruction)
            time.sleep(SETTLE_S)
        if args.engage and seed is not None:
            engage(client)  # once the inputs of the new scene have arrived
        elif args.engage:
            client.engage()
        print(f"{name}, {replay.seconds:.1f} s: {task}", flush=True)
        played = play(client, running, replay)
        print(played.message)
        if seed is None or not played.complete:
            return 0 if played.complete else 1
        time.sleep(SETTLE_S)
        event = client.event
        done = event is not None and event.ever_success
        print(f"the simulation says: {'done' if done else 'not done'}")
        return 0 if done else 1


def require_robot(recorded: str, robot_yaml: str, robot: Embodiment, name: str) -> None:
    """Raises ValueError for an episode of another robot, or of columns with another meaning."""
    if recorded != robot.name:
        raise ValueError(
            f"{name}: got an episode of {recorded or 'a robot that the set does not name'}, expected one of {robot.name}"
        )
    require_same_units(name, robot_yaml, robot)


def seed_of(scene: DrawnScene | None, client: Client, name: str) -> int | None:
    """The seed of the episode's scene in the running simulation; None if it was not simulated.

    Raises ValueError if the simulation draws other scenes.
    """
    if scene is None:
        return None
    end_s = time.monotonic() + FOUND_S
    while client.event is None:
        if time.monotonic() > end_s:
            raise TimeoutError(f"the simulation has not said its scene within {FOUND_S:g} s")
        time.sleep(POLL_S)
    if client.event.split != scene.split:
        raise ValueError(
            f"{name}: got a scene of the split {scene.split!r}, the simulation draws those of {client.event.split!r}"
        )
    return scene.seed
