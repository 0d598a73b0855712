"""Kill a recorder at random moments, and fill its disk: is every saved episode there, and does the set open?

    python benchmarks/data_kill.py --kills 20 --out benchmarks/data_kill.json
    LEROBOT_PYTHON=... python benchmarks/data_kill.py ...     # lerobot's own reader opens every set as well

A child process records synthetic frames into one folder as fast as it can and says when an episode was saved. It is
killed (SIGKILL), the set is opened as it was left and compared with what was said, and the next child goes on in
it. Then another child records onto a disk of a few megabytes until it is full (root: a tmpfs; else a limit on
the size of files).
"""

import argparse
import json
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "helpers"))
from demonstrations import FPS, ROBOT, frame, require_same

from vla_policy.data.lerobot.durable import DiskFull
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.writer import SetWriter

SIZE = (120, 160)
THERE = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
found = []
for root in sys.argv[1:]:
    data = LeRobotDataset("local/kill", root=root, video_backend="pyav")
    items = [data[i] for i in (0, len(data) // 2, len(data) - 1)]
    found.append([data.num_episodes, len(data), float(sum(i["observation.state"].sum() for i in items))])
print("FOUND" + json.dumps(found))
"""


def length_of(episode: int) -> int:
    return 5 + 7 * episode % 23


def record(root: Path) -> None:
    """The child: episodes without end."""
    with SetWriter(root, ROBOT, FPS) as writer:
        say("ready", writer.episodes, writer.recovered)
        while True:
            episode = writer.episodes
            writer.begin("push")
            for number in range(length_of(episode)):
                writer.add(frame(episode, number, size=SIZE), wait=True)
            if episode % 3:  # as while somebody decides; else at once, as by a verdict
                get_ready(writer)
            writer.save(success=episode % 2 == 0)
            say("saved", episode)


def get_ready(writer: SetWriter) -> None:
    """End the open episode and make ready what can be."""
    writer.end()
    while writer.unready:
        writer.get_ready()


def fill(root: Path) -> None:
    """The other child: until the disk is full; then some room comes back, and the same episode is saved."""
    if os.geteuid() != 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    else:
        (root.parent / "ballast").write_bytes(bytes(600_000))
    told: list[str] = []
    with SetWriter(root, ROBOT, FPS) as writer:
        while not told:
            episode = writer.episodes
            writer.begin("push")
            for number in range(40):
                writer.add(frame(episode, number, size=SIZE), wait=True)
            if episode % 2:
                get_ready(writer)
            try:
                writer.save()
            except (DiskFull, ValueError) as error:
                told.append(str(error))
        saved = writer.episodes
        check(root, saved, lambda episode: 40)
        (root.parent / "ballast").unlink(missing_ok=True)
        try:
            writer.save()
        except (DiskFull, ValueError):  # the video was what had no room: it cannot be gone on with
            writer.discard()
        after = writer.episodes
    check(root, after, lambda episode: 40)
    shutil.copytree(root, root.parent.parent / "copy-full")
    say("full", saved, after, told[0])


def say(*words: object) -> None:
    print("SAY" + json.dumps(words), flush=True)


def check(root: Path, saved: int, length: Callable[[int], int] = length_of) -> int:
    """How many episodes the set has; raises if one that was saved is missing or differs."""
    data = open_set(root)
    if len(data.entries) < saved:
        raise AssertionError(f"{root}: {len(data.entries)} episodes, but {saved} had been saved")
    for entry in data.entries:
        assert entry.length == length(entry.index), (entry.index, entry.length)
        for number in (0, entry.length // 2, entry.length - 1):
            require_same(data.frame_of(entry.index, number), frame(entry.index, number, size=SIZE))
    return len(data.entries)


def kill_once(root: Path, delay: float) -> dict:
    """One child, killed some time after it is ready."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--record", str(root)], stdout=subprocess.PIPE, text=True
    )
    said: list[list] = []
    try:
        for line in child.stdout:
            if line.startswith("SAY"):
                said.append(json.loads(line[3:]))
                break
        time.sleep(delay)
    finally:
        child.kill()
    said += [
        json.loads(line[3:])
        for line in child.stdout
        if line.startswith("SAY") and line.endswith("]\n")
    ]
    child.wait()
    assert said and said[0][0] == "ready", said
    saved = max([said[0][1], *(word[1] + 1 for word in said[1:])])
    there = check(root, saved) if saved else 0
    return {
        "delay_s": round(delay, 3),
        "saved": saved,
        "there": there,
        "recovered": [s.replace(f"{root}: ", "") for s in said[0][2]],
    }


def full_disk(folder: Path) -> dict:
    """A child on a small disk of its own."""
    disk = folder / "disk"
    disk.mkdir()
    command = f"exec {shlex.quote(sys.executable)} {shlex.quote(__file__)} --fill {disk / 'set'}"
    if os.geteuid() == 0:
        command = f"mount -t tmpfs -o size=2500k tmpfs {disk} && {command}"
        line = ["unshare", "-m", "--propagation", "private", "sh", "-c", command]
    else:
        line = ["sh", "-c", command]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr[-3000:])
    _, saved, after, told = json.loads(done.stdout.split("SAY")[-1])
    return {"saved": saved, "after_room_came": after, "told": told.replace(str(folder), "")}


def opened_there(command: str, roots: list[Path]) -> list:
    """What lerobot's reader finds in each set: episodes, frames, a sum of numbers."""
    done = subprocess.run(
        [*shlex.split(command), "-c", THERE, *map(str, roots)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr[-3000:])
    return json.loads(done.stdout.split("FOUND")[-1])


def run(kills: int, seed: int, folder: Path, lerobot: str = "") -> dict:
    """All of it, in an empty folder; the report."""
    rng, root = random.Random(seed), folder / "set"
    rounds, copies = [], []
    for number in range(kills):
        rounds.append(kill_once(root, rng.uniform(0.05, 1.5)))
        if lerobot and rounds[-1]["there"]:
            copies.append(folder / f"copy-{number}")
            shutil.copytree(root, copies[-1])
    report = {"kills": kills, "lost": 0, "rounds": rounds, "full_disk": full_disk(folder)}
    copies += [folder / "copy-full"] if lerobot else []
    for copy, (episodes, frames, total) in zip(
        copies, opened_there(lerobot, copies) if copies else [], strict=True
    ):
        data = open_set(copy)
        assert (episodes, frames) == (len(data.entries), len(data)), copy
        states = [data.frame(i).state.sum() for i in (0, frames // 2, frames - 1)]
        assert abs(total - float(sum(states))) < 1e-3, copy
    return report | {"opened_by_lerobot": len(copies)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the sets go; it must be empty")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.record:
        return record(args.record)
    if args.fill:
        return fill(args.fill)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        report = run(args.kills, args.seed, Path(folder), os.environ.get("LEROBOT_PYTHON", ""))
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
