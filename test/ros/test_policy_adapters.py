"""`~/set_adapter` of a policy that is on a server: the server's adapters, by name, over connections of their own."""

import time
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest

pytest.importorskip("rclpy")

from serving import OFFER, Played, Running
from vla_policy.srv import SetAdapter

from vla_policy.checkpoint.contract import Contract
from vla_policy.embodiment import load_embodiment
from vla_policy.remote import wire
from vla_policy.remote.answers import Served
from vla_policy.remote.handshake import metadata
from vla_policy.ros.nodes import policy_startup
from vla_policy.ros.nodes.policy_adapters import PolicyAdapters
from vla_policy.ros.nodes.policy_params import PolicyParams
from vla_policy.runtime.inference import Inference
from vla_policy.runtime.observation import blank_observation
from vla_policy.types import ActionChunk

ROBOT = load_embodiment("vx300s")
CONTRACT = Contract(
    ROBOT.camera_names, 96, ROBOT.state_names, ROBOT.action_names, ROBOT.action_names,
    tuple((group.name, group.space) for group in ROBOT.actions), ROBOT.policy_hz, (ROBOT.name,),
)  # fmt: skip
SEEN = blank_observation(CONTRACT)


class Shifted(Played):
    contract = CONTRACT

    def __init__(self, shift_m):
        super().__init__()
        self.shift_m = shift_m

    def infer_chunk(self, observation, previous, options):
        rows = np.tile(observation.state, (8, 1)) + self.shift_m
        return ActionChunk(
            rows, CONTRACT.action_names, observation.obs_ns, CONTRACT.step_ns, 0, observation.instruction
        )  # fmt: skip


@pytest.fixture
def server():
    offer = replace(OFFER, contract=CONTRACT, adapters={"cups": "sha256:1", "lids": "sha256:2"})
    adapters = {"cups": Served(Shifted(0.01)), "lids": Served(Shifted(0.02))}
    with Running(Shifted(0.0), offer, adapters=adapters) as running:
        yield running


@pytest.fixture
def exchanged(server):
    """(set, inference): asks for an adapter; what the inference has then. Began with the address that is given."""
    made = []

    def start(end="", named=""):
        params = PolicyParams(policy=server.address + end, adapters=named)
        first = policy_startup.load(ROBOT, params.policy, "auto", "cpu", 1)
        acting = SimpleNamespace(policy=first, name="")
        inference = create_autospec(Inference, instance=True)

        def exchange(policy, name):
            acting.policy, acting.name = policy, name
            return 1000

        inference.exchange.side_effect = exchange
        inference.status.side_effect = lambda: SimpleNamespace(adapter=acting.name)
        adapters = PolicyAdapters(ROBOT, params, first)
        acting.name = adapters.first
        made.append(adapters)
        return lambda name: adapters.set(inference, name, SetAdapter.Response()), acting

    yield start
    for adapters in made:
        adapters.close()


def shift_m(acting):
    return round(float((acting.policy.infer(SEEN).actions[0] - SEEN.state)[0]), 3)


def robots(server, count):
    """Whether so many are connected before long."""
    end_s = time.monotonic() + 5.0
    while server.server.metrics.robots != count and time.monotonic() < end_s:
        time.sleep(0.02)
    return server.server.metrics.robots == count


def test_a_servers_adapter_is_asked_for_by_its_name(server, exchanged):
    ask, acting = exchanged()
    assert shift_m(acting) == 0.0
    for name, shift in (("cups", 0.01), ("lids", 0.02), ("", 0.0), ("cups", 0.01)):
        answer = ask(name)
        assert (answer.success, answer.message, answer.in_place) == (True, "", name)
        assert shift_m(acting) == shift
    refused = ask("forks")
    assert not refused.success and refused.in_place == "cups"
    assert "adapter: got 'forks', the server has cups, lids" in refused.message
    assert shift_m(acting) == 0.01
    assert robots(server, 2)  # the base, which it began with, and the one that acts


def test_one_that_the_address_names_is_the_first_and_one_can_be_kept_under_another_name(exchanged):
    ask, acting = exchanged("?adapter=lids", "mugs=cups")
    assert (acting.name, shift_m(acting)) == ("lids", 0.02)
    for name, shift in (("mugs", 0.01), ("lids", 0.02), ("", 0.0)):
        assert ask(name).in_place == name and shift_m(acting) == shift


def test_a_server_that_has_another_policy_now_gives_no_adapter(server, exchanged):
    ask, acting = exchanged()
    other = replace(server.server._offer, weights="sha256:9")
    server.server._hello = wire.encode(metadata(other))
    answer = ask("cups")
    assert not answer.success and "weights was" in answer.message and shift_m(acting) == 0.0


def test_the_connections_end_with_the_configuration(server):
    params = PolicyParams(policy=server.address, adapters="mugs=cups")
    first = policy_startup.load(ROBOT, params.policy, "auto", "cpu", 1)
    PolicyAdapters(ROBOT, params, first).close()
    assert robots(server, 0)
