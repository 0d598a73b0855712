"""What open pages cost the robot: commands with ten pages that look at all cameras, and with none, in turns in one run.

The real nodes in their own processes: a mock robot and a driver of two cameras of 640 x 480 at 30 Hz (recording_cameras.py), the
policy node with a model that answers at once, control at 50 Hz, task, web. A page is what a browser is to the server: both
of its WebSockets, every picture taken and confirmed at once; all pages are in one process, at low priority, on the same machine.

commands        lateness in ms of the stamps of commands, with and without pages, and its ratio
pictures        that each page got per second and camera
stop_ms         from a page's request to the answer, one page after another, while all look
processor_share of one core, of each process; `web` is the node
per_picture_ms  of the web node's processor time beyond that without pages, for each picture that a page got

It tells on standard error where it is, and measures fewer rounds rather than going on beyond --limit.

. tools/env.sh && python benchmarks/page_load.py --out benchmarks/page_load.json
"""

import argparse
import asyncio
import html
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import played_graph as played
import recording

from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import NodeSpec, node_specs
from vla_policy.ros.bringup.processes import Processes
from vla_policy.ros.operator.client import Client
from vla_policy.ros.process import real_time

SETTLE_S = 3.0
END_S = 20.0  # for the stops, and for the nodes to end
BEGAN_S = time.monotonic()
MOST_RATIO, MOST_LATER_MS = 1.25, 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each part")
    parser.add_argument("--rounds", type=int, default=3, help="parts without and with pages")
    parser.add_argument("--limit", type=float, default=230.0, help="s, for all of it")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--look-at", metavar="PORT", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.look_at:
        print(json.dumps(asyncio.run(look(args.look_at, args.pages, args.seconds))))
        return 0
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    session.join_or_isolate()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name, (Path(name) / "nodes.log").open("w") as log:
        report = measure(args, Path(name), log)
        log.flush()
        lines = (Path(name) / "nodes.log").read_text().splitlines()
    report = {
        **played.heading(load),
        "priority": played.priority(lines),
        **report,
        "complaints": played.complaints(lines),
    }
    without, beside = (report["commands"][k]["lateness_ms"]["p99"] for k in ("without", "with"))
    punctual = report["ratio"]["p99"] <= MOST_RATIO or beside - without < MOST_LATER_MS
    report["punctual"] = punctual and report["commands"]["with"]["ticks_missed"] == 0
    say("done")
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if report["punctual"] else 1


def measure(args: argparse.Namespace, folder: Path, log) -> dict:
    robot = played.described(folder, "vx300s_pages", {})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    specs = node_specs(robot, mock=True, web_port=port)
    specs = [
        *played.changed(specs, {"mock": {"state_hz": recording.STATE_HZ}}),
        NodeSpec("cameras"),
    ]
    environment = {
        "PLAYED_WORK": "none", "OPENBLAS_NUM_THREADS": "1", "PLAYED_HZ": f"{recording.CAMERA_HZ:g}",
        "PLAYED_STAMPS": str(folder / "stamps.json"),
        "PLAYED_CAMERAS": "/front/image_raw /wrist/image_raw", "PLAYED_AFTER": "/joint_states",
    }  # fmt: skip
    processes = Processes(
        lambda node, line: log.write(f"{node}: {line}\n"),
        environment=environment,
        command=recording.command,
    )
    say("the nodes start")
    processes.start(specs)
    parts: dict[str, list] = {"without": [], "with": []}
    looked = []
    try:
        with Client("operator") as client:
            with recording.Heard(played.wait_until_ready, client) as heard:
                real_time.set_fifo_priority(5)  # what it measures with must not be late itself
                seconds = 2.0 * args.rounds * (args.seconds + 30.0)
                if not played.go_on(client, lambda: heard.place, seconds, played.READY_S):
                    raise TimeoutError("the robot does not move")
                for number in range(args.rounds):
                    if looked and time.monotonic() + round_s(args) + END_S > BEGAN_S + args.limit:
                        say(f"no time for round {number + 1}")
                        break
                    say(f"round {number + 1} of {args.rounds}: without pages")
                    time.sleep(SETTLE_S)
                    parts["without"].append(recording.part(heard, processes, args.seconds))
                    say(f"round {number + 1} of {args.rounds}: with {args.pages} pages")
                    pages = start_pages(port, args.pages, args.seconds + 2 * SETTLE_S)
                    time.sleep(SETTLE_S)
                    parts["with"].append(recording.part(heard, processes, args.seconds))
                    looked.append(json.loads(pages.communicate(timeout=60.0)[0]))
                say("a stop from each page")
                stops = asyncio.run(stop_from_each(port, args.pages))
                say("the nodes end")
    finally:
        processes.stop()
    summed = {name: recording.summed_up(found) for name, found in parts.items()}
    late, usual = (summed[k]["lateness_ms"] for k in ("with", "without"))
    return {
        "cameras": f"2 of 640 x 480 at {recording.CAMERA_HZ:g} Hz",
        "states_hz": recording.STATE_HZ,
        "commands_hz": recording.HZ,
        "pages": args.pages,
        "seconds": args.seconds,
        "rounds": len(looked),
        "commands": summed,
        "ratio": {k: round(late[k] / max(usual[k], 1e-3), 2) for k in late},
        "web": {k: summed[k]["processor_share"]["web"] for k in summed},
        "per_picture_ms": per_picture_ms(summed, looked),
        "looked": looked,
        "stop_ms": stops,
    }


def say(what: str) -> None:
    """Where it is, for who waits."""
    print(f"{time.monotonic() - BEGAN_S:5.0f} s  {what}", file=sys.stderr, flush=True)


def round_s(args: argparse.Namespace) -> float:
    """Seconds that a round takes."""
    return 2 * args.seconds + 3 * SETTLE_S + 3.0


def per_picture_ms(summed: dict, looked: list[dict]) -> float:
    """What a picture on a page costs the node, its one encoding divided among the pages."""
    share = {k: summed[k]["processor_share"]["web"] for k in summed}
    got = sum(found["pictures_per_s"]["all"] for found in looked) / len(looked)
    return round(1e3 * (share["with"] - share["without"]) / max(got, 1e-3), 3)


def start_pages(port: int, pages: int, seconds: float) -> subprocess.Popen:
    """Pages that look for so long, in a process of their own."""
    command = [
        "nice", "-n", "10", sys.executable, __file__, "--look-at", str(port),
        "--pages", str(pages), "--seconds", str(seconds),
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def look(port: int, pages: int, seconds: float) -> dict:
    """Open pages, take every picture, and say how many each got per second and camera."""
    async with aiohttp.ClientSession() as http:
        key = await key_of(http, port)
        found = await asyncio.gather(*(page(http, port, key, seconds) for _ in range(pages)))
    rates = [count / seconds for counts in found for count in counts.values()]
    return {
        "pictures_per_s": {
            "least": round(min(rates), 1),
            "most": round(max(rates), 1),
            "all": round(sum(rates), 1),
        },
        "processor_share": round(time.process_time() / seconds, 3),
    }


async def page(http: aiohttp.ClientSession, port: int, key: str, seconds: float) -> dict[int, int]:
    """camera -> pictures of one page that stays open for so long."""
    counts: dict[int, int] = {}
    async with linked(http, port, "live") as live, linked(http, port, "control") as control:
        for link in (live, control):
            await link.send_json({"key": key})
        await live.send_json({"visible": True})

        async def beats() -> None:
            async for _ in control:
                pass

        async def pictures() -> None:
            async for message in live:
                if message.type is aiohttp.WSMsgType.BINARY:
                    camera = message.data[0]
                    counts[camera] = counts.get(camera, 0) + 1
                    await live.send_json({"shown": camera})

        tasks = [asyncio.create_task(beats()), asyncio.create_task(pictures())]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
    return counts


async def stop_from_each(port: int, pages: int) -> dict[str, float]:
    """ms from request to answer of a stop from each of several pages that look all the while."""
    taken = []
    async with aiohttp.ClientSession() as http:
        key = await key_of(http, port)
        looking = [asyncio.create_task(page(http, port, key, 60.0)) for _ in range(pages)]
        await asyncio.sleep(SETTLE_S)
        for _ in range(pages):
            async with linked(http, port, "control") as link:
                await link.send_json({"key": key})
                began = time.perf_counter()
                await link.send_json({"id": 1, "ask": "stop"})
                while (await link.receive_json()).get("id") != 1:
                    pass
                taken.append(1e3 * (time.perf_counter() - began))
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
    taken.sort()
    return {"p50": round(taken[len(taken) // 2], 1), "max": round(taken[-1], 1)}


def linked(http: aiohttp.ClientSession, port: int, path: str):
    return http.ws_connect(f"http://127.0.0.1:{port}/{path}", max_msg_size=0)


async def key_of(http: aiohttp.ClientSession, port: int) -> str:
    async with http.get(f"http://127.0.0.1:{port}/") as reply:
        found = re.search(r'"key": "([^"]+)"', html.unescape(await reply.text()))
    if found is None:
        raise ValueError("the page holds no key")
    return found[1]


if __name__ == "__main__":
    sys.exit(main())
