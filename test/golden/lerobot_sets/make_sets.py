"""The sets beside this file, written by lerobot itself. Run with a Python that has lerobot:

    python make_sets.py FOLDER      # 0.6.1 writes v30 and v30_images, 0.3.3 writes v21

Each set is written from the numbers of `wanted`, so that a test needs no lerobot to know them; what lerobot's own
reader makes of the videos is put beside it (dump_set.py).
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

FPS = 10
LENGTHS = (7, 5, 6)
TASKS = ("push the red block", "lift it", "push the red block")
SIZE = (64, 96)


def wanted(episode: int, number: int) -> dict:
    """What frame number of an episode holds, before encoding."""
    rng = np.random.default_rng([episode, number])
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    picture = np.stack([columns * 2, rows * 3, np.full(SIZE, 40 + 30 * number)], -1).astype(
        np.uint8
    )
    picture[8:24, 8 * number : 8 * number + 16] = (230, 40 + 60 * episode, 20)
    return {
        "observation.state": rng.normal(size=4).astype(np.float32),
        "action": rng.normal(size=3).astype(np.float32),
        "observation.images.top": picture,
        "observation.images.side": np.ascontiguousarray(picture[:, ::-1]),
        "reward": np.array([number * 0.25], np.float32),
    }


def features(kind: str) -> dict:
    image = {"dtype": kind, "shape": (*SIZE, 3), "names": ["height", "width", "channels"]}
    return {
        "observation.state": {
            "dtype": "float32",
            "shape": (4,),
            "names": ["x", "y", "z", "gripper"],
        },
        "action": {"dtype": "float32", "shape": (3,), "names": {"motors": ["a", "b", "c"]}},
        "observation.images.top": image,
        "observation.images.side": image,
        "reward": {"dtype": "float32", "shape": (1,), "names": None},
    }


def write(root: Path, kind: str) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    data = LeRobotDataset.create(
        "local/golden",
        FPS,
        features(kind),
        root=root,
        robot_type="paper_arm",
        use_videos=kind == "video",
    )
    for episode, length in enumerate(LENGTHS):
        for number in range(length):
            values = wanted(episode, number)
            if version("lerobot").startswith("0.3."):
                data.add_frame(values, task=TASKS[episode])
            else:
                data.add_frame(values | {"task": TASKS[episode]})
        data.save_episode()
    if hasattr(data, "finalize"):
        data.finalize()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if version("lerobot").startswith("0.3."):
        write(folder / "v21", "video")
    else:
        write(folder / "v30", "video")
        write(folder / "v30_images", "image")
