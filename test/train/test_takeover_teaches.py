"""A policy's run that a person corrected, from the messages of the take to what is learned and how much it counts."""

import numpy as np
import pytest
from training_sets import contract_for

bag_messages = pytest.importorskip("bag_messages")  # needs rosbags, of requirements/data.txt

from vla_policy.data.episode_builder import EpisodeBuilder  # noqa: E402
from vla_policy.data.lerobot.writer import SetWriter  # noqa: E402
from vla_policy.data.streams import Decoder  # noqa: E402
from vla_policy.train.set_options import SetOptions  # noqa: E402
from vla_policy.train.training_set import open_training_set  # noqa: E402

ROBOT = bag_messages.robot()
FPS = 10
CONTRACT = contract_for(ROBOT, policy_hz=float(FPS))
S, START = bag_messages.S, bag_messages.START


def corrected(message, from_ns):
    """A tick of the control node, in which a person moves the robot from from_ns on."""
    if message.topic != "/control_command" or message.stamp_ns < from_ns:
        return message
    tick = Decoder().control_command(message)
    return bag_messages.command(
        tick.stamp_ns,
        tick.names,
        sent=tick.sent,
        proposed=tick.sent + 0.05,
        source="teleop",
        mode="teleoperated",
        instruction=tick.instruction,
        received_ns=message.received_ns,
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A take of 1.5 s that a person takes over after 0.7 s, as an episode of a set."""
    root = tmp_path_factory.mktemp("takeover") / "set"
    builder = EpisodeBuilder(ROBOT, FPS)
    messages = [corrected(m, START + 7 * S // 10) for m in bag_messages.take(ROBOT, 1.5)]
    frames = [frame for m in messages for frame in builder.add(m)] + builder.end()
    with SetWriter(root, ROBOT, FPS, robot_yaml=f"name: {ROBOT.name}\n") as writer:
        writer.begin("lift the cube")
        for frame in frames:
            assert writer.add(frame, wait=True)
        writer.save(True)
    return root, frames


def test_the_persons_frames_count_more_and_the_policys_stay(recorded):
    root, frames = recorded
    theirs = np.array([frame.intervention for frame in frames])
    assert 3 <= theirs.sum() < len(frames) and theirs[-1] and not theirs[0]
    data = open_training_set(root, CONTRACT, rows=2, options=SetOptions(correction_weight=3.0))
    assert data.weights.tolist() == np.where(theirs, 3.0, 1.0).tolist()
    alone = open_training_set(root, CONTRACT, rows=2, options=SetOptions(weights={"policy": 0.0}))
    assert len(alone) == theirs.sum() and (alone.weights == 2.0).all()


def test_what_the_person_asked_for_can_be_learned(recorded):
    root, frames = recorded
    asked = SetOptions(learn="proposed")
    data = open_training_set(root, CONTRACT, rows=2, options=asked)
    for number, frame in enumerate(frames[:-1]):
        more = 0.05 if frame.intervention else 0.01
        assert frame.proposed == pytest.approx(frame.action + more, abs=1e-5)
        assert data[number].actions[0] == pytest.approx(frame.proposed, abs=1e-5)
