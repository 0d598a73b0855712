"""What the control path costs and how evenly it commands.

step: one tick of the pure control path (timeline, watchdog, guard) while a chunk is followed.
jitter: the control node as a process at its real rate, between a robot and a policy that this program
plays; time from one command to the next as it arrives here, wall clock.

. tools/env.sh && python benchmarks/control_loop.py --out benchmarks/control_loop.json
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.ros.bringup.session import free_domain
from vla_policy.runtime import control as core
from vla_policy.runtime.control import Control
from vla_policy.safety.robot import GuardedRobot
from vla_policy.safety.watchdog import InputStamps
from vla_policy.types import ActionChunk, Array, RobotState

HOME = np.array([0.3, 0.0, 0.2, 0.0, 0.7071068, 0.0, 0.7071068])
CHUNK_S = 0.4
READY_S = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ["ROS_DOMAIN_ID"] = str(free_domain())  # before rclpy is imported
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "step_us": measure_step(),
        "command_interval_ms": measure_jitter(args.seconds),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def plan(obs_ns: int, sequence: int, y: float) -> ActionChunk:
    """Ten rows that swing slowly from side to side, from where the arm is."""
    robot = load_embodiment("vx300s")
    rows = np.tile([*HOME, 1.0], (10, 1))
    direction = 1.0 if sequence // 10 % 2 == 0 else -1.0
    rows[:, 1] = y + direction * 0.002 * (np.arange(10) + 1)
    return ActionChunk(rows, robot.action_names, obs_ns, robot.step_ns, sequence, "swing")


def measure_step(ticks: int = 5000) -> dict[str, float]:
    """Microseconds per tick, a new chunk every 0.4 s."""
    embodiment = load_embodiment("vx300s")
    robot = GuardedRobot(embodiment, layout_of(embodiment))
    control, now_ns, sequence, y = Control(), 1_000_000_000, 0, 0.0
    times = []
    for tick in range(ticks + 100):
        now_ns += embodiment.period_ns
        pose = np.array([HOME[0], y, *HOME[2:]])
        state = RobotState(np.zeros(6), now_ns, {"ee": pose}, now_ns, {"gripper": 1.0})
        inputs = InputStamps(now_ns, now_ns, dict.fromkeys(embodiment.cameras, now_ns))
        control, _ = core.engage(control, robot, inputs, now_ns)
        if tick % 20 == 0:
            chunk = plan(now_ns, sequence, y)
            control, _ = core.accept(control, robot, state, chunk, now_ns)
            sequence += 1
        started = time.perf_counter_ns()
        control, verdict = core.tick(control, robot, state, inputs, now_ns)
        times.append((time.perf_counter_ns() - started) / 1e3)
        if verdict.command is not None:
            y = float(verdict.command.values[1])
    return _summary(np.array(times[100:]))


def measure_jitter(seconds: float) -> dict[str, float]:
    """Milliseconds between commands of the running control node."""
    import rclpy

    process = subprocess.Popen([shutil.which("control_node") or "control_node"])
    rclpy.init()
    try:
        arrivals = _play(seconds)
    finally:
        rclpy.try_shutdown()
        process.send_signal(signal.SIGTERM)
        process.wait(10.0)
    intervals = np.diff(arrivals) * 1e3
    expected_ms = load_embodiment("vx300s").period_ns / 1e6
    late = np.mean(intervals > 1.5 * expected_ms)
    return {
        "expected": expected_ms,
        **_summary(intervals),
        "std": round(float(intervals.std()), 3),
        "late_fraction": round(float(late), 5),
        "commands": len(arrivals),
    }


def _play(seconds: float) -> Array:
    """Robot and policy for the control node; the arrival times (s) of its commands."""
    import rclpy
    from geometry_msgs.msg import PoseStamped
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from sensor_msgs.msg import Image, JointState
    from std_msgs.msg import Float64MultiArray
    from std_srvs.srv import SetBool
    from vla_policy.msg import ActionChunk as ActionChunkMsg

    from vla_policy.ros.messages import convert
    from vla_policy.ros.process import qos

    robot = load_embodiment("vx300s")
    node = rclpy.create_node("bench")
    joints = node.create_publisher(JointState, robot.joints.topic, qos.SENSOR)
    poses = node.create_publisher(PoseStamped, robot.ee_pose.topic, qos.SENSOR)
    cameras = [node.create_publisher(Image, c.topic, qos.SENSOR) for c in robot.cameras.values()]
    chunks = node.create_publisher(ActionChunkMsg, "action_chunk", qos.COMMAND)
    names = (*robot.joint_names, robot.outputs["hand"].joint)
    image = np.zeros((96, 96, 3), np.uint8)
    arrivals: list[float] = []
    state = {"y": 0.0, "sequence": 0}

    def on_target(msg: PoseStamped) -> None:
        arrivals.append(time.perf_counter())
        state["y"] = msg.pose.position.y

    def publish_state() -> None:
        now_ns = node.get_clock().now().nanoseconds
        positions = [0.0, -0.5, 0.5, 0.0, 0.5, 0.0, robot.outputs["hand"].open]
        joints.publish(convert.joints_to_msg(names, positions, stamp_ns=now_ns))
        pose = np.array([HOME[0], state["y"], *HOME[2:]])
        poses.publish(convert.pose_to_msg(pose, stamp_ns=now_ns, frame_id=robot.base_frame))

    def publish_images() -> None:
        now_ns = node.get_clock().now().nanoseconds
        for camera in cameras:
            camera.publish(convert.image_to_msg(image, stamp_ns=now_ns, frame_id="camera"))

    def publish_chunk() -> None:
        now_ns = node.get_clock().now().nanoseconds
        chunk = plan(now_ns, state["sequence"], state["y"])
        chunks.publish(convert.chunk_to_msg(chunk, frame_id=robot.base_frame))
        state["sequence"] += 1

    node.create_subscription(PoseStamped, robot.outputs["arm"].topic, on_target, 100)
    hand = robot.outputs["hand"].topic
    node.create_subscription(Float64MultiArray, hand, lambda _: None, 10)
    node.create_timer(0.02, publish_state)
    node.create_timer(0.1, publish_images)
    node.create_timer(CHUNK_S, publish_chunk)
    client = node.create_client(SetBool, "control/engage")
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            return

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    _engage(client)
    time.sleep(1.0)
    start = time.perf_counter()
    time.sleep(seconds)
    executor.shutdown(timeout_sec=2.0)
    thread.join(timeout=2.0)
    node.destroy_node()
    return np.array([at for at in arrivals if at >= start])


def _engage(client) -> None:
    from std_srvs.srv import SetBool

    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if client.wait_for_service(timeout_sec=1.0):
            done = threading.Event()
            future = client.call_async(SetBool.Request(data=True))
            future.add_done_callback(lambda _, done=done: done.set())
            if done.wait(2.0) and future.result().success:
                return
        time.sleep(0.2)
    sys.exit("the control node does not engage")


def _summary(values: Array) -> dict[str, float]:
    p50, p99, top = np.percentile(values, (50, 99, 100))
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "max": round(float(top), 3)}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


main()
