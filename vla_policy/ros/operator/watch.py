"""Observing a running graph: camera rates, and the images of the overview camera."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import partial

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from vla_policy.embodiment import Embodiment
from vla_policy.ros.messages import convert
from vla_policy.ros.process import qos
from vla_policy.types import Array


class Watch:
    """Counts camera messages and keeps overview frames while recording; callbacks in any thread."""

    def __init__(
        self, node: Node, robot: Embodiment, *, overview: str = "overview/image_raw"
    ) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(robot.camera_names, 0)
        self._frames: list[Array] | None = None
        for name, camera in robot.cameras.items():
            kind = CompressedImage if camera.type == "compressed" else Image
            node.create_subscription(kind, camera.topic, partial(self._count, name), qos.SENSOR)
        node.create_subscription(Image, overview, partial(self._keep, overview), qos.SENSOR)

    def rates_hz(self, seconds: float) -> Mapping[str, float]:
        """Messages per second of each camera, measured over the coming seconds."""
        with self._lock:
            self._counts = dict.fromkeys(self._counts, 0)
        time.sleep(seconds)
        with self._lock:
            return {name: count / seconds for name, count in self._counts.items()}

    def record(self) -> None:
        """Keep overview frames from now on."""
        with self._lock:
            self._frames = []

    def take(self) -> tuple[Array, ...]:
        """The frames since record(), uint8[h, w, 3]; recording ends."""
        with self._lock:
            frames, self._frames = self._frames or [], None
        return tuple(frames)

    def _count(self, name: str, _message: object) -> None:
        with self._lock:
            self._counts[name] += 1

    def _keep(self, topic: str, message: Image) -> None:
        with self._lock:
            if self._frames is not None:
                self._frames.append(convert.image_from_msg(message, topic))


class Lifecycles:
    """Queries lifecycle nodes for their state without blocking on those that do not answer."""

    def __init__(self, node: Node, names: tuple[str, ...]) -> None:
        self._clients = {name: node.create_client(GetState, f"{name}/get_state") for name in names}

    def active(self, name: str) -> bool:
        """Whether the node reports, within a second, that it is active."""
        client = self._clients[name]
        if not client.service_is_ready():
            return False
        done = threading.Event()
        future = client.call_async(GetState.Request())
        future.add_done_callback(lambda _: done.set())
        if not done.wait(1.0):
            return False
        return bool(future.result().current_state.id == State.PRIMARY_STATE_ACTIVE)
