"""What the graph costs without a model, for three cameras of 640 x 480: from the cameras' stamp to a command.

The real policy, control and task nodes in their own processes, around a model that answers at once; the robot
is a process of this program, and this process listens. Every 110 ms the robot stamps and publishes joint
states, tool pose and three pictures, ready for the wire as a driver in C++ has them, one after another; each set
gives one chunk. In ms:

stamp_to_chunk     from the stamp of the set until the control node has taken the chunk made of it
pictures_to_chunk  the same from when the middleware had the last of the three pictures: what is compared with
                   the limit, as sending 2.7 MB from one process is the robot's part
inference_call     the call of the model that answers at once, of the above
chunk_to_command   until the next command is stamped: up to a period, as commands come at a fixed rate
command_to_wire    from a command's stamp, taken when its tick begins, to the command heard here

The robot's process has the setting that these nodes give themselves and docs/performance.md asks of camera
drivers; --driver plain leaves it as Fast DDS has it. --ordinary: the control node without real-time priority,
which on two cores takes turns with the policy.

. tools/env.sh && python benchmarks/overhead.py --out benchmarks/overhead.json
"""

import argparse
import gc
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import played_graph as played
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, Int64MultiArray
from vla_policy.msg import ActionChunk, ControlStatus

from vla_policy.embodiment import load_embodiment
from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import node_specs
from vla_policy.ros.messages import convert
from vla_policy.ros.process import large_messages, qos
from vla_policy.runtime.cdr import START
from vla_policy.timing import NS_PER_S

EVERY_S = 0.11
LIMIT_MS = 5.0
HEIGHT, WIDTH = 480, 640
HOME = np.array([0.3, 0.0, 0.2, 0.0, 0.7071068, 0.0, 0.7071068])
SIDE = "  wrist: {topic: wrist/image_raw, type: image, max_age_s: 0.35, max_still_s: 1.0}\n"
PUBLISHED = "published"  # (stamp, when the third image was out), of the played robot


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--driver", default="prepared", choices=("prepared", "plain"))
    parser.add_argument("--ordinary", action="store_true")
    parser.add_argument("--play", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.play:
        return play(args.play, prepared=args.driver == "prepared")
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")  # as on a robot
    session.join_or_isolate()
    untouched = {**os.environ}
    large_messages.prepare()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "nodes.log").open("w") as log:
        third = {SIDE: SIDE + SIDE.replace("wrist", "side")}
        path = played.described(Path(folder), "vx300s_three_cameras", third)
        robot = subprocess.Popen(
            [sys.executable, __file__, "--driver", args.driver, "--play", path], env=untouched
        )
        specs = node_specs(path, web_port=None)
        if args.ordinary:
            specs = played.changed(specs, {"control": {"real_time_priority": 0}})
        processes = played.start(specs, "none", log, execute_rows=1)
        try:
            figures = listen(load_embodiment(path), args.seconds).figures()
        except (TimeoutError, ValueError) as error:
            log.flush()
            sys.exit(
                f"{error}; the nodes say: {played.complaints(Path(log.name).read_text().splitlines())}"
            )
        finally:
            processes.stop()
            robot.terminate()
            robot.wait(10.0)
        log.flush()
        lines = Path(log.name).read_text().splitlines()
    report = {
        **played.heading(load),
        "driver": args.driver,
        "images": f"3 x {WIDTH} x {HEIGHT} rgb8",
        "sets": figures.pop("sets"),
        "chunks": figures.pop("chunks"),
        "ms": figures,
        "limit_ms": LIMIT_MS,
        "within_limit": figures["pictures_to_chunk"]["p50"] <= LIMIT_MS,
        "priority": played.priority(lines),
        "complaints": played.complaints(lines),
    }
    print(json.dumps(report, indent=1))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if report["within_limit"] else 1


class Heard:
    """What is heard, ns of the system's clock, by the stamp or sequence that it belongs to."""

    def __init__(self, node, robot) -> None:
        self.published, self.chunks, self.taken = {}, {}, {}
        self.commands, self.y = [], 0.0
        all_of = QoSProfile(depth=100)
        node.create_subscription(ActionChunk, "action_chunk", self._on_chunk, all_of)
        node.create_subscription(ControlStatus, "control_status", self._on_status, all_of)
        node.create_subscription(PoseStamped, robot.outputs["arm"].topic, self._on_command, all_of)
        node.create_subscription(Int64MultiArray, PUBLISHED, self._on_published, all_of)

    def clear(self) -> None:
        self.published, self.chunks, self.taken, self.commands = {}, {}, {}, []

    def figures(self) -> dict:
        chunks = {
            ns: self.taken[sequence]
            for ns, (sequence, _) in self.chunks.items()
            if ns in self.published and sequence in self.taken
        }
        stamps = np.array([stamp for stamp, _ in self.commands])
        next_at = {ns: np.searchsorted(stamps, taken_ns) for ns, taken_ns in chunks.items()}
        ms = {
            "stamp_to_chunk": [taken_ns - ns for ns, taken_ns in chunks.items()],
            "pictures_to_chunk": [taken - self.published[ns] for ns, taken in chunks.items()],
            "inference_call": [self.chunks[ns][1] for ns in chunks],
            "chunk_to_command": [
                stamps[at] - chunks[ns] for ns, at in next_at.items() if at < len(stamps)
            ],
            "command_to_wire": [arrival - stamp for stamp, arrival in self.commands],
        }
        empty = [name for name, values in ms.items() if not values]
        if empty:
            raise ValueError(
                f"nothing was heard for {', '.join(empty)}; {len(self.chunks)} chunks, "
                f"{len(self.published)} sets of images, {len(self.commands)} commands"
            )
        found = {name: played.summary(np.array(values) / 1e6) for name, values in ms.items()}
        return {"sets": len(self.published), "chunks": len(chunks), **found}

    def _on_chunk(self, msg: ActionChunk) -> None:
        stamp_ns = convert.ns_from_stamp(msg.header.stamp)
        infer_ns = convert.ns_from_stamp(msg.inference_time)
        self.chunks[stamp_ns] = (msg.sequence, infer_ns)

    def _on_status(self, msg: ControlStatus) -> None:
        if msg.queued_rows:
            self.taken[msg.chunk_sequence] = convert.ns_from_stamp(msg.chunk_taken)

    def _on_command(self, msg: PoseStamped) -> None:
        self.commands.append((convert.ns_from_stamp(msg.header.stamp), time.time_ns()))
        self.y = msg.pose.position.y

    def _on_published(self, msg: Int64MultiArray) -> None:
        self.published[msg.data[0]] = msg.data[1]


def listen(robot, seconds: float) -> Heard:
    """What is heard of the running graph in some seconds of motion."""
    from vla_policy.ros.operator.client import Client

    with Client("operator") as client:
        played.wait_until_ready(client)
        rclpy.init()
        node = rclpy.create_node("listener")
        heard = Heard(node, robot)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        threading.Thread(target=_spin, args=(executor,), daemon=True).start()
        if not played.go_on(client, lambda: heard.y, seconds, played.READY_S):
            raise TimeoutError("the robot does not move")
    gc.freeze()
    time.sleep(2.0)
    heard.clear()
    time.sleep(seconds)
    executor.shutdown(timeout_sec=1.0)
    rclpy.try_shutdown()
    return heard


def play(path: str, *, prepared: bool) -> int:
    """The robot: stamps and publishes its state and cameras, and is at once where it is told to be."""
    if prepared:
        large_messages.prepare()
    robot = load_embodiment(path)
    rclpy.init()
    node = rclpy.create_node("robot")
    place = {"y": 0.0}
    joints = node.create_publisher(JointState, robot.joints.topic, qos.SENSOR)
    poses = node.create_publisher(PoseStamped, robot.ee_pose.topic, qos.SENSOR)
    cameras = [node.create_publisher(Image, c.topic, qos.SENSOR) for c in robot.cameras.values()]
    published = node.create_publisher(Int64MultiArray, PUBLISHED, 10)
    hand = robot.outputs["hand"].topic
    node.create_subscription(Float64MultiArray, hand, lambda _: None, 10)
    node.create_subscription(
        PoseStamped,
        robot.outputs["arm"].topic,
        lambda msg: place.update(y=msg.pose.position.y),
        10,
    )
    names = (*robot.joint_names, robot.outputs["hand"].joint)
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    # As a driver in C++ has them: Python would take a millisecond to make each ready for the wire.
    images = [
        bytearray(serialize_message(convert.image_to_msg(picture, stamp_ns=1, frame_id="camera")))
        for picture in (np.roll(noise, k, axis=1) for k in range(8))
    ]
    count = 0

    def publish() -> None:
        nonlocal count
        stamp_ns = node.get_clock().now().nanoseconds
        positions = [place["y"], -0.5, 0.5, 0.0, 0.5, 0.0, robot.outputs["hand"].open]
        joints.publish(convert.joints_to_msg(names, positions, stamp_ns=stamp_ns))
        pose = np.array([HOME[0], place["y"], *HOME[2:]])
        poses.publish(convert.pose_to_msg(pose, stamp_ns=stamp_ns, frame_id=robot.base_frame))
        for camera in cameras:
            count += 1
            image = images[count % len(images)]
            struct.pack_into("<iI", image, START, *divmod(stamp_ns, NS_PER_S))
            camera.publish(bytes(image))
        published.publish(Int64MultiArray(data=[stamp_ns, time.time_ns()]))

    node.create_timer(EVERY_S, publish)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    _spin(executor)
    return 0


def _spin(executor) -> None:
    try:
        executor.spin()
    except (ExternalShutdownException, KeyboardInterrupt):
        return


if __name__ == "__main__":
    sys.exit(main())
