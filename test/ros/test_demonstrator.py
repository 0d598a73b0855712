"""When a demonstration's take begins, beside a recorder that answers as told."""

from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest

pytest.importorskip("rclpy")

from vla_policy.data.recording import Phase
from vla_policy.ros.operator import demonstrations
from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.recorder_client import RecorderClient

REFUSED = (False, "/joint_states: nothing new for 0.3 s")


def demonstrator(answers):
    recorder = create_autospec(RecorderClient, instance=True)
    recorder.wait.side_effect = lambda condition, within_s: condition(recorder.status)
    recorder.status = SimpleNamespace(phase=Phase.IDLE, missing=[])
    recorder.ask.side_effect = answers
    client = create_autospec(Client, instance=True)
    client.node = SimpleNamespace(create_subscription=lambda *given: None)
    return demonstrations.Demonstrator(client, recorder, seconds=1.0), recorder


def test_a_take_that_a_pause_refused_is_asked_for_again():
    found, recorder = demonstrator([REFUSED, REFUSED, (True, "")])
    found._begin()
    assert recorder.ask.call_count == 3


def test_a_take_that_stays_refused_ends_with_its_sentence(monkeypatch):
    monkeypatch.setattr(demonstrations, "READY_S", 0.1)
    found, _ = demonstrator(lambda request: REFUSED)
    with pytest.raises(ValueError, match="no take was begun: /joint_states: nothing new"):
        found._begin()
    found, recorder = demonstrator(lambda request: (True, ""))
    recorder.status.missing = ["/ee_pose"]
    with pytest.raises(TimeoutError, match="no take can begin: /ee_pose"):
        found._begin()
    recorder.ask.assert_not_called()
