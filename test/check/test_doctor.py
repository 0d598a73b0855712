"""`vla doctor`: facts are told, problems come with a cure and exit code 1."""

import os
import socket

import pytest

from vla_policy import cli
from vla_policy.check.doctor.devices import devices, ports
from vla_policy.check.doctor.environment import discovery, large_pictures, packages, python
from vla_policy.check.doctor.machine import (
    FACT,
    HINT,
    PROBLEM,
    Note,
    gpu,
    receive_buffer,
    shared_memory,
)
from vla_policy.commands import doctor


def levels(notes) -> list[str]:
    return [note.level for note in notes if note.level != FACT]


@pytest.mark.parametrize(
    ("env", "level", "words"),
    [
        ({}, None, ""),
        ({"ROS_DOMAIN_ID": "42", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, None, ""),
        ({"ROS_DOMAIN_ID": "300"}, PROBLEM, "0 to 101"),
        ({"ROS_DOMAIN_ID": "robot"}, PROBLEM, "'robot'"),
        ({"ROS_DOMAIN_ID": "150"}, HINT, "ports"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "subnet"}, PROBLEM, "SUBNET"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, PROBLEM, "unset"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, HINT, "another machine"),
        ({"ROS_LOCALHOST_ONLY": "1"}, HINT, "another machine"),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "/nowhere.xml"}, PROBLEM, "/nowhere.xml"),
    ],
)
def test_who_hears_whom(env, level, words):
    wrong = [note for note in discovery(env) if note.level != FACT]
    assert [note.level for note in wrong] == ([level] if level else [])
    assert all(words in f"{note.says} {note.cure}" and note.cure for note in wrong)


@pytest.mark.parametrize(
    ("env", "expected", "words"),
    [
        ({}, [HINT], "sockets_size"),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}, [], ""),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": "profiles.xml"}, [], ""),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, [HINT], "compressed"),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, [], ""),
    ],
)
def test_whether_a_driver_can_send_pictures_whole(env, expected, words):
    notes = list(large_pictures(env))
    assert levels(notes) == expected
    assert all(words in note.cure for note in notes)


def test_shared_memory_that_is_small_or_full_of_leftovers(tmp_path):
    assert levels(shared_memory(tmp_path, least=1)) == []
    assert levels(shared_memory(tmp_path, least=2**60)) == [PROBLEM]
    assert levels(shared_memory(tmp_path / "none")) == [HINT]
    for k in range(501):
        (tmp_path / f"fastrtps_{k}").touch()
    assert levels(shared_memory(tmp_path, least=1)) == [HINT]


def test_a_receive_buffer_smaller_than_a_picture(tmp_path):
    file = tmp_path / "rmem_max"
    file.write_text("212992\n")
    assert levels(receive_buffer(file)) == [HINT]
    file.write_text("8388608\n")
    assert levels(receive_buffer(file)) == []
    assert list(receive_buffer(tmp_path / "none")) == []


def test_a_driver_that_does_not_answer(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Driver/library version mismatch' >&2; exit 18\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    first = next(iter(gpu()))
    assert first.level == PROBLEM and "mismatch" in first.says and first.cure


def test_this_environment_has_what_is_needed():
    assert PROBLEM not in levels([*python(), *packages()])
    assert any("numpy" in note.says for note in packages())


def test_problems_come_first_and_decide_the_exit_code(capsys, monkeypatch):
    notes = (Note(FACT, "a fact"), Note(HINT, "slow", "wait"), Note(PROBLEM, "broken", "mend it"))
    monkeypatch.setattr(doctor, "CHECKS", {"one": (lambda: iter(notes),)})
    assert cli.main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert told.index("a fact") < told.index("broken") < told.index("mend it") < told.index("slow")
    monkeypatch.setattr(doctor, "CHECKS", {"one": (lambda: iter(notes[:2]),)})
    assert cli.main(["doctor", "one"]) == 0
    assert cli.main(["doctor", "tyres"]) == 1
    assert "expected one of one" in capsys.readouterr().err


def test_devices_that_may_not_be_opened_are_named_with_their_group(tmp_path, monkeypatch):
    for name in ("video0", "ttyACM0", "ttyACM1"):
        (tmp_path / name).touch()
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "ttyACM1")
    facts, hints = ([n for n in devices(tmp_path) if n.level == level] for level in (FACT, HINT))
    assert [n.says for n in facts] == [
        "camera: video0",
        "serial port of an arm: ttyACM0, ttyACM1",
    ]
    [hint] = hints
    assert hint.says == "this user may not open the serial port of an arm ttyACM1"
    assert "dialout" in hint.cure


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert not list(ports({"the page": port}))
        taken.listen()
        [note] = ports({"the page": port})
    assert note.level == HINT and f"port {port}, that of the page" in note.says
