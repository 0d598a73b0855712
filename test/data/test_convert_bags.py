"""Bags become a set, live or later, from whatever recorder they are."""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
from dataclasses import replace
from functools import cache
from pathlib import Path

import bag_messages as make
import numpy as np
import pytest

from vla_policy.commands import data_convert
from vla_policy.data.bag.metadata import NAMESPACE, ROBOT, ROBOT_FILE, SUCCESS, TASK
from vla_policy.data.bag.writer import BagWriter
from vla_policy.data.conversion.bags import Options, convert_bags
from vla_policy.data.conversion.journal import ConversionJournal
from vla_policy.data.episode_builder import EpisodeBuilder
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.writer import SetWriter
from vla_policy.embodiment import find_embodiment, load_embodiment

S, MS, START = make.S, make.MS, make.START
TEXT = find_embodiment("so101").read_text()
CUSTOM = {TASK: "lift the cube", ROBOT: "so101", ROBOT_FILE: TEXT, NAMESPACE: "/"}


def record(folder: Path, messages, custom=None, success="") -> Path:
    bag = BagWriter(folder, CUSTOM if custom is None else custom)
    bag.open()
    for message in messages:
        bag.write(message)
    bag.close({SUCCESS: success} if success else {})
    return folder


def live(root: Path, takes, bags: Path | None = None):
    """What a recorder does: each message to the bag and to the frames, in the order in which it comes."""
    robot = make.robot()
    with SetWriter(root, robot, 30, robot_yaml=TEXT) as writer:
        for number, (messages, success) in enumerate(takes):
            bag = BagWriter(bags / f"episode-{number:06d}", CUSTOM)
            bag.open()
            writer.begin("lift the cube")
            builder = EpisodeBuilder(robot, 30)
            for message in messages:
                bag.write(message)
                for frame in builder.add(message):
                    assert writer.add(frame, wait=True)
            for frame in builder.end():
                assert writer.add(frame, wait=True)
            writer.save(success)
            bag.close({SUCCESS: "" if success is None else str(success).lower()})


def files(root: Path) -> dict[str, str]:
    """Every file of a set but what tells of the conversion and of work in progress."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".recording" not in path.parts and path.name != "conversion.json"
    }


@cache
def sound_take() -> tuple:
    return tuple(make.take(make.robot(), 1.2))


def takes():
    """Three takes, each with something of what goes wrong on a robot."""
    rng = np.random.default_rng(3)
    second = [m for m in make.take(make.robot(), 1.5) if not (m.topic == "/follower/image_raw" and m.stamp_ns > START + S // 2)]  # fmt: skip
    shaken = [
        replace(m, received_ns=m.received_ns + int(rng.integers(0, 300)) * MS)
        if "image" in m.topic
        else m
        for m in make.take(make.robot(), 1.3)
    ]
    third = sorted(shaken, key=lambda m: m.received_ns)
    third.insert(0, make.text("/active_instruction", "push the ball", third[0].received_ns))
    third.insert(0, make.text("/not/of/this/robot", "noise", third[0].received_ns))
    return [(sound_take(), True), (second, None), (third, False)]


@pytest.mark.slow
def test_a_set_that_was_recorded_live_is_that_of_its_bags_byte_for_byte(tmp_path):
    live(tmp_path / "live", takes(), tmp_path / "bags")
    outcome = convert_bags([tmp_path / "bags"], tmp_path / "later", Options(workers=1))
    assert outcome.problems == []
    assert outcome.episodes == 3
    expected = files(tmp_path / "live")
    assert len([n for n in expected if n.endswith(".mp4")]) == 6
    assert len([n for n in expected if n.startswith("data/")]) == 3
    assert files(tmp_path / "later") == expected
    data = open_set(tmp_path / "later")
    assert [data.success(k) for k in range(3)] == [True, None, False]
    assert {f.task for f in data.episode(0).frames} == {"lift the cube"}
    assert any(not f.valid for f in data.episode(1).frames)


@pytest.mark.slow
def test_processes_beside_each_other_give_the_same_set_in_the_same_order(tmp_path):
    for number, (messages, success) in enumerate(takes()):
        record(tmp_path / f"bags/b{number}", messages, success=str(success).lower())
    convert_bags([tmp_path / "bags"], tmp_path / "one", Options(workers=1))
    told = []
    convert_bags(
        [tmp_path / "bags"],
        tmp_path / "two",
        Options(workers=2),
        tell=lambda done, total: told.append((done, total)),
    )
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_second_run_goes_on_and_a_third_does_nothing(tmp_path):
    for number, (messages, success) in enumerate(takes()):
        record(tmp_path / f"bags/b{number}", messages, success=str(success).lower())
    convert_bags([tmp_path / "bags"], tmp_path / "whole", Options(workers=1))

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_bags([tmp_path / "bags"], tmp_path / "set", Options(workers=1), tell=stop)
    assert len(open_set(tmp_path / "set").entries) == 2
    again = convert_bags([tmp_path / "bags"], tmp_path / "set", Options(workers=1))
    assert (again.skipped, again.episodes) == (2, 1)
    assert files(tmp_path / "set") == files(tmp_path / "whole")
    third = convert_bags([tmp_path / "bags"], tmp_path / "set", Options(workers=1))
    assert (third.skipped, third.episodes) == (3, 0)
    assert files(tmp_path / "set") == files(tmp_path / "whole")


def test_a_run_that_ended_between_its_note_and_its_episode_makes_the_episode(tmp_path):
    messages = sound_take()
    record(tmp_path / "bags/a", messages)
    record(tmp_path / "bags/b", messages)
    convert_bags([tmp_path / "bags/a"], tmp_path / "set")
    ConversionJournal.read(tmp_path / "set", 1).note(str(tmp_path / "bags/b"), 1)
    assert convert_bags([tmp_path / "bags"], tmp_path / "set", Options(workers=1)).episodes == 1


def test_a_bag_that_cannot_be_converted_is_told_and_the_others_go_on(tmp_path):
    messages = sound_take()
    record(tmp_path / "bags/a", [m for m in messages if m.topic != "/follower/image_raw"])
    record(tmp_path / "bags/b", messages)
    (tmp_path / "bags/c").mkdir()
    (tmp_path / "bags/c/c_0.mcap").write_bytes(b"no bag")
    outcome = convert_bags([tmp_path / "bags"], tmp_path / "set", Options(workers=1))
    assert outcome.episodes == 1
    lacks, other = outcome.problems
    assert "lacks the topics /follower/image_raw of robot 'so101'" in lacks
    assert "/static_camera/image_raw" in lacks
    assert "c_0.mcap: got another kind of file" in other
    assert all("\n" not in problem for problem in outcome.problems)


def test_a_recorder_that_was_killed_left_an_episode(tmp_path):
    messages = sound_take()
    bag = BagWriter(tmp_path / "bag", CUSTOM)
    bag.open()
    for message in messages:
        bag.write(message)
    bag.abandon()
    outcome = convert_bags([tmp_path / "bag"], tmp_path / "set")
    assert outcome.episodes == 1
    assert "was never closed" in outcome.notes[0]
    assert 15 <= len(open_set(tmp_path / "set")) <= 36


def test_another_robots_bag_and_another_robots_set_are_refused_in_one_sentence(tmp_path):
    messages = sound_take()
    record(tmp_path / "bag", messages)
    outcome = convert_bags([tmp_path / "bag"], tmp_path / "set", Options(robot="vx300s"))
    assert "is a recording of robot 'so101', expected 'vx300s'" in outcome.problems[0]
    assert not (tmp_path / "set").exists()
    convert_bags([tmp_path / "bag"], tmp_path / "set")
    before = files(tmp_path / "set")
    with pytest.raises(ValueError, match="got a set with robot_type 'so101', expected 'xarm7'"):
        convert_bags([tmp_path / "bag"], tmp_path / "set", Options(robot="xarm7"))
    assert files(tmp_path / "set") == before


def test_a_foreign_bag_needs_to_be_told_its_robot_and_its_task(tmp_path):
    messages = [m for m in sound_take() if m.topic != "/control_command"]
    messages += [make.numbers("/follower/forward_controller/commands", np.full(6, 0.1), START + i * 20 * MS) for i in range(60)]  # fmt: skip
    messages.sort(key=lambda m: m.received_ns)
    record(tmp_path / "bag", messages, custom={})
    with pytest.raises(
        ValueError, match="does not say of which robot it is; name it with --robot"
    ):
        convert_bags([tmp_path / "bag"], tmp_path / "set")
    outcome = convert_bags([tmp_path / "bag"], tmp_path / "set", Options(robot="so101"))
    assert "says nothing of the task; give it with --task" in outcome.problems[0]
    told = Options(robot="so101", task="push")
    assert convert_bags([tmp_path / "bag"], tmp_path / "set", told).episodes == 1
    frame = open_set(tmp_path / "set").frame(20)
    assert frame.action.tolist() == np.full(6, 0.1, np.float32).tolist()
    assert (frame.control_source, frame.task, frame.valid) == ("other", "push", True)


def test_a_recording_without_any_command_is_refused(tmp_path):
    messages = [m for m in sound_take() if m.topic != "/control_command"]
    record(tmp_path / "bag", messages)
    outcome = convert_bags([tmp_path / "bag"], tmp_path / "set")
    assert "says nothing of what was commanded: it lacks /control_command" in outcome.problems[0]
    assert "/follower/forward_controller/commands" in outcome.problems[0]


def test_a_namespace_is_found_by_itself(tmp_path):
    messages = [replace(m, topic=f"/left{m.topic}") for m in sound_take()]
    record(tmp_path / "bag", messages, custom={TASK: "lift"})
    outcome = convert_bags([tmp_path / "bag"], tmp_path / "set", Options(robot="so101"))
    assert outcome.problems == []
    assert len(open_set(tmp_path / "set")) == 35


def test_a_robot_file_of_the_users_own_comes_with_the_bag(tmp_path):
    messages = sound_take()
    own = TEXT.replace("name: so101", "name: my_arm").replace("policy_hz: 30", "policy_hz: 15")
    record(tmp_path / "bag", messages, {**CUSTOM, ROBOT: "my_arm", ROBOT_FILE: own})
    convert_bags([tmp_path / "bag"], tmp_path / "set")
    data = open_set(tmp_path / "set")
    assert (data.robot_type, data.fps, data.robot_yaml) == ("my_arm", 15, own)


def test_a_rate_that_is_not_whole_is_refused(tmp_path):
    messages = sound_take()
    own = TEXT.replace("policy_hz: 30", "policy_hz: 7.5")
    record(tmp_path / "bag", messages, {**CUSTOM, ROBOT_FILE: own})
    with pytest.raises(ValueError, match=r"got 7\.5, expected a whole number.*--fps"):
        convert_bags([tmp_path / "bag"], tmp_path / "set")
    assert convert_bags([tmp_path / "bag"], tmp_path / "set", Options(fps=10)).episodes == 1
    assert load_embodiment("so101").policy_hz == 30


def command(*words) -> int:
    parser = argparse.ArgumentParser()
    data_convert.add_arguments(parser)
    return data_convert.run(parser.parse_args([str(word) for word in words]))


def test_the_verb_says_what_it_did_and_what_it_could_not(tmp_path, capsys):
    messages = sound_take()
    record(tmp_path / "bags/a", messages)
    record(tmp_path / "bags/b", messages[:1])
    assert command(tmp_path / "bags", tmp_path / "set", "--workers", "1") == 1
    said = capsys.readouterr()
    assert "1 episodes of 35 frames added" in said.out
    (problem,) = [line for line in said.err.splitlines() if line.startswith("not converted")]
    assert "bags/b: lacks the topics" in problem
    assert command(tmp_path / "bags/a", tmp_path / "set") == 0
    assert "0 episodes of 0 frames added, 1 were there already" in capsys.readouterr().out
    with pytest.raises(ValueError, match="got neither bags"):
        command(tmp_path / "set" / "data", tmp_path / "other")
