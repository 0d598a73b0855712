"""What it costs to write a data set live: three cameras of 640 x 480 at 30 Hz.

    python benchmarks/data_write.py --seconds 20 --out benchmarks/data_write.json
    TMPDIR=/dev/shm python benchmarks/data_write.py      # the same without a disk

CPU a frame and camera, how many frames waited for an encoder at most, and how long save() takes when the encoders have
caught up, for the first and the last episode.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "helpers"))
from demonstrations import ROBOT, frame

from vla_policy.data.frame import Frame
from vla_policy.data.lerobot.writer import SetWriter

FPS, SIZE, CAMERAS = 30, (480, 640), ("front", "wrist", "side")


def moving(number: int) -> Frame:
    """A picture with shading, noise and something that moves, as a camera gives it."""
    rng = np.random.default_rng(number % 30)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    base = np.stack([columns // 3, rows // 2, (rows + columns) // 5], -1)
    base[100:200, 5 * (number % 90) : 5 * (number % 90) + 80] = (200, 30, 60)
    picture = (base + rng.integers(-4, 5, (*SIZE, 1))).clip(0, 255).astype(np.uint8)
    return replace(frame(0, number), images=dict.fromkeys(CAMERAS, picture))


def run(episodes: int, seconds: float) -> dict:
    frames = [moving(n) for n in range(90)]
    saves, most, cpu = [], 0, time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        with SetWriter(Path(folder) / "set", ROBOT, FPS, CAMERAS) as writer:
            lost = 0
            for _ in range(episodes):
                writer.begin("push")
                start = time.monotonic()
                for number in range(round(seconds * FPS)):
                    time.sleep(max(0.0, start + number / FPS - time.monotonic()))
                    lost += not writer.add(frames[number % len(frames)])
                    most = max(most, writer.waiting)
                while writer.waiting:
                    time.sleep(0.01)
                time.sleep(0.1)
                began = time.perf_counter()
                writer.save()
                saves.append((time.perf_counter() - began) * 1e3)
            cpu = time.process_time() - cpu
        disk = one_fsync_ms(Path(folder))
        size = sum(p.stat().st_size for p in Path(folder).rglob("*.mp4"))
    count = round(episodes * seconds * FPS) * len(CAMERAS)
    return {
        "frames": count,
        "frames_lost": lost,
        "most_frames_waiting": most,
        "cpu_ms_a_frame": round(cpu * 1e3 / count, 2),
        "share_of_one_core": round(cpu / (episodes * seconds), 3),
        "bytes_a_frame": size // count,
        "one_fsync_ms": disk,  # of this disk, at this moment: a save waits for some of them
        "save_ms": [round(ms, 1) for ms in saves],
    }


def one_fsync_ms(folder: Path) -> float:
    """Median time of putting a small new file on the disk."""
    times = []
    for number in range(20):
        began = time.perf_counter()
        with open(folder / f"probe-{number}", "wb") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        times.append((time.perf_counter() - began) * 1e3)
    return round(float(np.median(times)), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="of an episode")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    report = run(args.episodes, args.seconds)
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
