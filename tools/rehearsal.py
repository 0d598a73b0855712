"""What stands in for hardware or for weights of your own while a tutorial is rehearsed: nothing of it teaches a robot anything.

    python tools/rehearsal.py demonstrations takes/set --robot so101           # a recorded set, joints in slow waves
    python tools/rehearsal.py checkpoint smolvla_base --robot so101 --kind smolvla   # a small folder of lerobot, random weights

Both have the robot's own cameras, columns, rate and ranges, so everything that reads them takes the way of real ones.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from vla_policy.data.frame import Frame
from vla_policy.data.lerobot.writer import SetWriter
from vla_policy.embodiment import Embodiment, load_embodiment
from vla_policy.timing import NS_PER_S

ROOT = Path(__file__).resolve().parent.parent
TASK = "put the cube in the cup"
SIZE = (120, 160)


def demonstrations(root: Path, robot: Embodiment, episodes: int, seconds: float) -> None:
    """A set in which every joint follows a wave of its own within a quarter of its range."""
    fps = round(robot.policy_hz)
    text = (ROOT / "config" / "embodiments" / f"{robot.name}.yaml").read_text()
    with SetWriter(root, robot, fps, robot_yaml=text) as writer:
        for episode in range(episodes):
            writer.begin(TASK)
            for number in range(round(seconds * fps)):
                writer.add(_frame(robot, episode, number, fps), wait=True)
            writer.save(True)


def checkpoint(folder: Path, robot: Embodiment, kind: str) -> str:
    """A folder as its project writes it, with the robot's columns and ranges; the options that its small sizes need."""
    sys.path[:0] = [str(ROOT / "test" / name) for name in ("helpers", "formats")]
    from road_folders import FOLDERS

    if kind not in FOLDERS:
        raise ValueError(f"--kind: got {kind!r}, expected one of {', '.join(FOLDERS)}")
    write, heads = FOLDERS[kind]
    folder.parent.mkdir(parents=True, exist_ok=True)
    write(folder, robot)
    return "" if heads is None else f"--heads {' '.join(map(str, heads))}"


def _ranges(robot: Embodiment, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Low and high of each column: the middle quarter of a joint's range, all of a gripper's. Raises ValueError for others."""
    ends = []
    for name in names:
        joint = name.removeprefix("joint.")
        if joint in robot.joint_names:
            i = robot.joint_names.index(joint)
            low, high = robot.joints.lower[i], robot.joints.upper[i]
            ends.append(((low + high) / 2 - (high - low) / 8, (low + high) / 2 + (high - low) / 8))
        elif name.endswith("gripper"):
            ends.append((0.0, 1.0))
        else:
            raise ValueError(
                f"column {name!r} of {robot.name}: got no joint and no gripper; expected a robot of joints"
            )
    low, high = np.array(ends).T
    return low, high


def _frame(robot: Embodiment, episode: int, number: int, fps: int) -> Frame:
    def at(names: tuple[str, ...], frame: int) -> np.ndarray:
        low, high = _ranges(robot, names)
        wave = np.sin(frame / fps + np.arange(len(names)) + episode)
        return (low + high) / 2 + 0.8 * wave * (high - low) / 2

    action = at(robot.action_names, number + 1)
    return Frame(
        stamp_ns=1_000 * NS_PER_S * (episode + 1) + number * NS_PER_S // fps,
        images={name: _picture(k, episode, number) for k, name in enumerate(robot.camera_names)},
        state=at(robot.state_names, number),
        action=action,
        proposed=action,
        control_source="teleop",
        intervention=False,
        guard_level=0,
        valid=True,
        task=TASK,
    )


def _picture(camera: int, episode: int, number: int) -> np.ndarray:
    """A square that goes round on a grey table."""
    rows, columns = np.indices(SIZE)
    angle = number / 30 + episode + camera
    near = (abs(rows - 60 - 35 * np.sin(angle)) < 12) & (
        abs(columns - 80 - 55 * np.cos(angle)) < 12
    )
    picture = np.repeat((120 + rows // 4)[..., None], 3, 2).astype(np.uint8)
    picture[near] = (200, 40, 30)
    return picture


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("demonstrations", "checkpoint"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--robot", required=True, help="by name, a robot of joints")
    parser.add_argument("--kind", default="pi0", help="of checkpoint (pi0)")
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0, help="of an episode")
    args = parser.parse_args()
    robot = load_embodiment(args.robot)
    if args.out.exists():
        parser.exit(1, f"{args.out}: is there already\n")
    if args.what == "demonstrations":
        demonstrations(args.out, robot, args.episodes, args.seconds)
    else:
        needs = checkpoint(args.out, robot, args.kind)
        print(f"sizes are not the published ones: `vla inspect` of it needs {needs or 'nothing'}")
    print(f"wrote {args.out}: {TASK!r}" if args.what == "demonstrations" else f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
