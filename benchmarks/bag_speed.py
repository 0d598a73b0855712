"""How fast bags are written, read and converted, in seconds of processor time a gigabyte, and what bounds it.

Makes a bag of an so101 with two cameras of 640 x 480 pixels at 30 Hz, joints at 100 Hz and commands at 60 Hz, whose
pictures are noisy as those of cameras are, and converts it by one process and by one process a core; then one of the
same cameras as JPEG, of which a gigabyte holds many times as many pictures. Every figure has processor time beside it,
which counts all threads and children, so that it holds on a machine that does other things.


python benchmarks/bag_speed.py --out benchmarks/bag_speed.json
python benchmarks/bag_speed.py --seconds 2        # to see that the command works
"""

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "helpers"))

import bag_messages as make

from vla_policy.data.bag.metadata import NAMESPACE, ROBOT, ROBOT_FILE, TASK
from vla_policy.data.bag.reader import open_bag
from vla_policy.data.bag.writer import BagWriter
from vla_policy.data.conversion.bag_takes import frames_of
from vla_policy.data.conversion.bags import Options, convert_bags
from vla_policy.data.episode_builder import EpisodeBuilder
from vla_policy.embodiment import find_embodiment
from vla_policy.parsing.json_document import write_json
from vla_policy.runtime.images import encode_jpeg

GB = 1e9
HEIGHT, WIDTH = 480, 640


def camera_pictures(count: int) -> list[np.ndarray]:
    """A scene that moves a little, with the noise of a sensor: hard to compress, as real ones are."""
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    found = []
    for number in range(count):
        scene = 110 + 60 * np.sin((columns + 3 * number) / 60.0) * np.cos(rows / 45.0)
        noisy = scene[:, :, None] + rng.normal(0, 3, (HEIGHT, WIDTH, 3))
        found.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return found


def messages(seconds: float, *, jpeg: bool) -> list:
    """Of one take, in the order of receipt."""
    robot, pictures = make.robot(), camera_pictures(30)
    small = make.take(robot, seconds)
    numbers = dict.fromkeys((m.topic for m in small), 0)
    found = []
    for m in small:
        number = numbers[m.topic]
        numbers[m.topic] += 1
        if "image" in m.topic and jpeg:
            data = encode_jpeg(pictures[number % 30])
            m = make.compressed(m.topic, m.stamp_ns, data, m.received_ns)
        elif "image" in m.topic:
            m = make.image(m.topic, m.stamp_ns, pictures[number % 30], m.received_ns)
        found.append(m)
    return found


def timed(work: Callable[[], object], gigabytes: float) -> dict[str, float]:
    """Seconds by the clock and of processors, a gigabyte."""

    def cpu() -> float:
        used = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(u.ru_utime + u.ru_stime for u in used)

    wall, before = time.perf_counter(), cpu()
    work()
    spent, used = time.perf_counter() - wall, cpu() - before
    return {
        "wall_s_per_gb": round(spent / gigabytes, 2),
        "processor_s_per_gb": round(used / gigabytes, 2),
    }


def write(folder: Path, takes: list, *, jpeg: bool = False) -> None:
    text = find_embodiment("so101").read_text()
    text = text.replace("type: image", "type: compressed") if jpeg else text
    custom = {TASK: "lift", ROBOT: "so101", ROBOT_FILE: text, NAMESPACE: "/"}
    bag = BagWriter(folder, custom)
    bag.open()
    for message in takes:
        bag.write(message)
    bag.close()


def align(folder: Path) -> None:
    """Read, align and decode, without encoding."""
    bag = open_bag(folder)
    for _ in frames_of(bag, EpisodeBuilder(make.robot(), 30, decoder=bag.decoder())):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each take")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    takes = messages(args.seconds, jpeg=False)
    size = sum(len(m.data) for m in takes)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        one, two = size / GB, 2 * size / GB
        found = {"write": timed(lambda: write(root / "bags/a", takes), one)}
        write(root / "bags/b", takes)
        on_disk = sum(f.stat().st_size for f in (root / "bags/a").iterdir())
        found["read"] = timed(lambda: sum(1 for _ in open_bag(root / "bags/a").messages()), one)
        found["read_align_decode"] = timed(lambda: align(root / "bags/a"), one)
        for workers in (1, os.cpu_count() or 1):
            options = Options(workers=workers)
            found[f"convert_two_bags_with_{workers}_processes"] = timed(
                lambda o=options, w=workers: convert_bags([root / "bags"], root / f"set{w}", o), two
            )  # fmt: skip
        pictures = sum("image" in m.topic for m in takes)
        takes = messages(args.seconds, jpeg=True)
        small = sum(len(m.data) for m in takes)
        write(root / "jpeg", takes, jpeg=True)
        found["convert_a_bag_of_jpeg_with_1_process"] = timed(
            lambda: convert_bags([root / "jpeg"], root / "set_jpeg", Options(workers=1)),
            small / GB,
        )
    raw = found["convert_two_bags_with_1_processes"]["processor_s_per_gb"]
    squeezed = found["convert_a_bag_of_jpeg_with_1_process"]["processor_s_per_gb"]
    result = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load_before": [round(x, 1) for x in os.getloadavg()],
        "take_s": args.seconds,
        "gigabytes_of_messages_in_a_bag": round(size / GB, 3),
        "share_on_disk": round(on_disk / size, 3),
        "pictures_in_a_bag": pictures,
        "gigabytes_as_jpeg": round(small / GB, 3),
        **found,
        "processor_ms_per_picture": round(1e3 * raw * size / GB / pictures, 2),
        "processor_ms_per_jpeg_picture": round(1e3 * squeezed * small / GB / pictures, 2),
    }
    for name, value in result.items():
        print(name, value)
    if args.out:
        write_json(args.out, result)


if __name__ == "__main__":
    main()
