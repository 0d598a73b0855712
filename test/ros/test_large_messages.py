"""Three pictures of 640x480 sent together by one process: all of them come, whole, in a domain as a robot has it."""

import os
import random
import subprocess
import sys

import pytest

from vla_policy.ros.process import large_messages

SETS = 20
SEND = """
import sys, time
from vla_policy.ros.process import large_messages
large_messages.prepare()
import rclpy
from sensor_msgs.msg import Image
from vla_policy.ros.process import qos
rclpy.init()
node = rclpy.create_node("cameras")
publishers = [node.create_publisher(Image, f"camera_{k}", qos.SENSOR) for k in range(3)]
picture = Image(height=480, width=640, step=1920, encoding="rgb8", data=bytes(480 * 1920))
while any(p.get_subscription_count() == 0 for p in publishers):
    time.sleep(0.05)
time.sleep(0.5)
for k in range(int(sys.argv[1])):
    picture.header.stamp.sec = k + 1
    for publisher in publishers:
        publisher.publish(picture)
    time.sleep(0.2)
time.sleep(0.5)
"""
TAKE = """
import sys
from vla_policy.ros.process import large_messages
large_messages.prepare()
import rclpy
from sensor_msgs.msg import Image
from vla_policy.ros.process import qos
rclpy.init()
node = rclpy.create_node("taker")
heard = set()
for k in range(3):
    node.create_subscription(
        Image, f"camera_{k}", lambda msg, k=k: heard.add((k, msg.header.stamp.sec)), qos.SENSOR
    )
while len(heard) < 3 * int(sys.argv[1]) and not any(sec == int(sys.argv[1]) for _, sec in heard):
    rclpy.spin_once(node, timeout_sec=0.1)
for _ in range(10):
    rclpy.spin_once(node, timeout_sec=0.05)
print(len(heard))
"""


def test_none_of_three_pictures_sent_together_is_lost():
    # With LOCALHOST rmw_fastrtps sets its own transports; a robot's computer has SUBNET.
    env = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}
    env["ROS_DOMAIN_ID"] = str(random.randrange(1, 101))
    env.pop(large_messages.TRANSPORTS, None)
    taker = subprocess.Popen(
        [sys.executable, "-c", TAKE, str(SETS)], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        subprocess.run([sys.executable, "-c", SEND, str(SETS)], env=env, check=True, timeout=60)
        heard, _ = taker.communicate(timeout=30)
    finally:
        taker.kill()
    # A reader keeps one picture of each: on a machine that stalls for 0.2 s one may be overtaken.
    assert int(heard) >= 0.9 * 3 * SETS


@pytest.mark.parametrize("name", [large_messages.TRANSPORTS, *large_messages.PROFILES])
def test_what_the_user_has_chosen_stays(name):
    env = {name: "mine"}
    large_messages.prepare(env)
    assert env == {name: "mine"}


def test_otherwise_there_is_room_for_pictures():
    env = {}
    large_messages.prepare(env)
    assert env == {large_messages.TRANSPORTS: large_messages.ROOMY}


def test_real_time_priority_is_taken_or_a_sentence_says_why_not():
    code = (
        "import os, threading; from vla_policy.ros.process.real_time import set_fifo_priority\n"
        "stop = threading.Event(); threading.Thread(target=stop.wait).start()\n"
        "said = set_fifo_priority(3); tids = os.listdir('/proc/self/task')\n"
        "print(said, {os.sched_getscheduler(int(t)) for t in tids}, os.SCHED_FIFO, len(tids)); stop.set()"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    if said.startswith("None"):
        assert said.split() == [
            "None",
            f"{{{os.SCHED_FIFO}}}",
            str(os.SCHED_FIFO),
            said.split()[-1],
        ]
        assert int(said.split()[-1]) >= 2
    else:
        assert "limits.conf" in said
