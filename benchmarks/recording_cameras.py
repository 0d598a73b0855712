"""A mock robot whose cameras give 640 x 480 pixels and who remembers what it published, for recording.py.

Environment variable PLAYED_STAMPS: a file for the stamps of every image, by topic.
"""

import json
import os
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from vla_policy.ros.messages import convert
from vla_policy.ros.nodes.mock_node import MockNode
from vla_policy.ros.process.run_node import run_node

HEIGHT, WIDTH = 480, 640
KINDS = 8  # different images, so that an encoder has something to do


class Robot(MockNode):
    def __init__(self) -> None:
        self._stamps = defaultdict(list)
        ramp = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))[..., None] // 4
        tint = np.array([[3, 5, 7]]) * np.arange(KINDS)[:, None]
        noise = np.random.default_rng(0).integers(0, 12, (HEIGHT, WIDTH, 3))
        self._pictures = [(ramp + t + noise).astype(np.uint8) for t in tint]
        super().__init__()

    def _on_cameras(self) -> None:
        now_ns = self._now_ns()
        for number, (camera, publisher) in enumerate(self._cameras.items()):
            count = len(self._stamps[f"/{camera.topic}"])
            image = self._pictures[(count + number) % KINDS]
            publisher.publish(convert.image_to_msg(image, stamp_ns=now_ns, frame_id=camera.name))
            self._stamps[f"/{camera.topic}"].append(now_ns)

    def close(self) -> None:
        Path(os.environ["PLAYED_STAMPS"]).write_text(json.dumps(self._stamps))


if __name__ == "__main__":
    sys.exit(run_node(Robot, threads=2))
