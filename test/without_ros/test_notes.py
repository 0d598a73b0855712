"""Notes of running robots, and the line to a control node, without ROS."""

import json
import os
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from vla_policy.ros.operator.known_robots import call_lines, known_robots
from vla_policy.ros.process import notes
from vla_policy.ros.process.stop_line import Present, ask


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(notes.tempfile, "tempdir", str(tmp_path))
    return notes.own_folder()


def session(**changes):
    return notes.Session(**{"pid": os.getpid(), "domain": 5, "robot": "fr3"} | changes)


def test_a_note_counts_while_its_process_lives_and_is_that_one(folder):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        path = notes.announce(session(pid=other.pid, control="/a/control", namespace="/a"))
        notes.announce(session())
        assert {s.pid for s in notes.running()} == {os.getpid(), other.pid}
        note = json.loads(path.read_text())
        path.write_text(json.dumps(note | {"started": note["started"] - 1}))
        assert [s.pid for s in notes.running()] == [os.getpid()]  # another process of that id
        path.write_text(json.dumps(note))
        other.communicate(b"\n")
    assert [s.pid for s in notes.running()] == [os.getpid()]
    notes.withdraw()
    assert notes.read() == ((), ())


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[1]", b"\xff\x00", b'{"pid": 1, "pid": 2}', b"[" * 4000, b" " * 5000,
        b'{"pid": true, "domain": 1, "started": 1}', b'{"pid": 1, "domain": -1, "started": 1}',
        b'{"pid": 1, "domain": 1, "namespace": "/a b", "started": 1}',
        b'{"pid": 1, "domain": 1, "robot": "a\\u001b[2J", "started": 1}',
        b'{"pid": 1, "domain": 1, "other": 1, "started": 1}',
    ],
)  # fmt: skip
def test_what_is_no_note_is_told_in_a_sentence_and_left_out(folder, content):
    (folder / "1.json").write_bytes(content)
    notes.announce(session())
    found, problems = notes.read()
    assert [s.pid for s in found] == [os.getpid()]
    assert len(problems) == 1 and "1.json" in problems[0] and "\n" not in problems[0]


def test_notes_of_others_are_not_believed(folder):
    (folder / "1.json").symlink_to("/etc/passwd")
    os.mkfifo(folder / "2.json")
    found, problems = notes.read()
    assert found == () and "2 notes of running robots cannot be used" in problems[0]
    folder.chmod(0o777)
    found, problems = notes.read()
    assert found == () and "another user may write there" in problems[0]
    with pytest.raises(ValueError, match="another user may write"):
        notes.announce(session())
    folder.chmod(0o700)
    (folder / "1.json").unlink()
    (folder / "2.json").unlink()
    folder.rmdir()
    folder.symlink_to("/tmp")
    assert "not a folder" in notes.read()[1][0]


class Node:
    """As much of a node as the line needs: its callback runs in a thread of its own, or never."""

    def __init__(self, *, turns=True):
        self.context = SimpleNamespace(get_domain_id=lambda: 5)
        self.turns, self.warned = turns, []

    def get_namespace(self):
        return "/a"

    def get_name(self):
        return "control"

    def get_logger(self):
        return SimpleNamespace(warning=self.warned.append)

    def create_guard_condition(self, callback):
        self.turn = callback

        def trigger():
            if self.turns:
                threading.Thread(target=callback).start()

        return SimpleNamespace(trigger=trigger)

    def destroy_guard_condition(self, guard):
        return True


def told(answers):
    return call_lines(known_robots(notes.running()), "stop", lambda r, no: answers.append((r, no)))


def test_the_node_says_whether_it_has_stopped(folder):
    asked, answers = [], []

    def answer(word):
        asked.append(word)
        return word == "stop", "sentence"

    present = Present(Node(), "fr3", answer)
    assert told(answers) == {(5, "/a/control"): True}
    assert answers[0][0].robot == "fr3" and answers[0][0].namespace == "/a" and asked == ["stop"]
    path = notes.line_of(notes.running()[0])
    assert ask(path, os.getpid(), "reset") == (False, "sentence")
    with pytest.raises(ValueError, match=f"process {os.getpid()}, expected 1"):
        ask(path, 1, "stop")
    with pytest.raises(OSError, match="no answer"):
        ask(path, os.getpid(), "engage")  # no word of this line
    assert asked == ["stop", "reset"]
    present.close()
    assert told(answers) == {} and list(folder.iterdir()) == []


def test_callers_that_say_nothing_do_not_keep_a_stop_waiting(monkeypatch):
    present = Present(Node(), "fr3", lambda word: (True, ""))
    path = notes.line_of(notes.running()[0])
    with socket.socket(socket.AF_UNIX) as silent:
        monkeypatch.chdir(path.parent)
        silent.connect(path.name)
        assert told([]) == {(5, "/a/control"): True}
    present.close()


def test_a_node_that_hangs_has_not_stopped():
    answers = []
    present = Present(Node(turns=False), "fr3", lambda word: (True, ""))
    assert told(answers) == {} and answers == []
    present.close()


@pytest.mark.parametrize(("word", "done"), [("stop", ["stop"]), ("reset", [])])
def test_after_its_caller_was_told_that_nobody_answers_only_a_stop_is_still_done(word, done):
    """Somebody may have stopped the robot meanwhile, who must not be overruled by an older reset."""
    asked, node = [], Node(turns=False)
    present = Present(node, "fr3", lambda word: (asked.append(word) is None, ""))
    with pytest.raises(OSError):
        ask(notes.line_of(notes.running()[0]), os.getpid(), word)
    node.turn()  # the executor comes to it at last
    assert asked == done
    present.close()


def test_two_control_nodes_of_one_name_must_both_answer():
    present = Present(Node(), "fr3", lambda word: (True, ""))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        notes.announce(session(pid=other.pid, control="/a/control", namespace="/a"))
        assert len(known_robots(notes.running())) == 1 and told([]) == {}
        other.communicate(b"\n")
    present.close()


def test_without_a_folder_the_node_goes_on_and_says_so(folder):
    folder.chmod(0o777)
    node = Node()
    Present(node, "fr3", lambda word: (True, "")).close()
    assert "has to look for this node longer" in node.warned[0]


def test_a_stop_waits_for_no_large_library():
    """Until the lines have been asked: numpy and rclpy take longer to import than the stop itself."""
    code = (
        "import sys, vla_policy.commands.stop;"
        "print(*{'numpy', 'rclpy', 'torch', 'yaml'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert told.stdout.strip() == "" and told.returncode == 0, told.stdout + told.stderr
