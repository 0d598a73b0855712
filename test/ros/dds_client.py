"""Says one instruction as any DDS program could: knows the topic and its type, imports nothing of ours.

usage: dds_client.py "pick up the red cube"
"""

import sys
import time
from dataclasses import dataclass

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.pub import DataWriter
from cyclonedds.topic import Topic
from cyclonedds.util import duration


@dataclass
class String(IdlStruct, typename="std_msgs::msg::dds_::String_"):
    data: str


def main() -> None:
    reliable = Qos(Policy.Reliability.Reliable(duration(seconds=5)), Policy.History.KeepLast(1))
    participant = DomainParticipant()  # of the domain in CYCLONEDDS_URI
    writer = DataWriter(participant, Topic(participant, "rt/instruction", String), qos=reliable)
    end = time.monotonic() + 20.0
    while not writer.get_matched_subscriptions():
        if time.monotonic() > end:
            sys.exit("nobody listens to rt/instruction")
        time.sleep(0.05)
    # Several listen, and are found one by one: the control node for words that stop, the task node.
    time.sleep(2.0)
    writer.write(String(sys.argv[1]))
    # The reader may be a moment behind the match; a reliable write waits for its word.
    time.sleep(1.0)


main()
