"""What lerobot's own reader gives of a set, as one .npz. Run with a Python that has lerobot:

python dump_set.py SET OUT.npz [STEP]     # images of every STEP-th frame, numbers of all
"""

import sys
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def dump(root: Path, step: int) -> dict:
    data = LeRobotDataset(
        "local/dump", root=root, video_backend=sys.argv[4] if len(sys.argv) > 4 else "pyav"
    )
    names = [*data.features]
    found = {name: [] for name in (*names, "task")}
    for index in range(len(data)):
        item = data[index]
        for name in names:
            value = item[name].numpy()
            if name in data.meta.camera_keys:  # float32[3, h, w] of 1
                if index % step:
                    continue
                value = (value * 255).round().astype(np.uint8).transpose(1, 2, 0)
            found[name].append(value)
        found["task"].append(item["task"])
    return {name: np.array(values) for name, values in found.items()} | {
        "length": np.array([len(data), data.num_episodes, data.fps])
    }


if __name__ == "__main__":
    np.savez_compressed(sys.argv[2], **dump(Path(sys.argv[1]), int([*sys.argv, 1][3])))
