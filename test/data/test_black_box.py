"""A black box keeps the newest within its size, survives being killed, and its events are what was recorded."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import bag_messages as make
import pytest

from vla_policy.data.bag.reader import open_bag
from vla_policy.data.black_box import SEGMENTS, BlackBox, segments
from vla_policy.data.events import events
from vla_policy.data.lerobot.durable import Busy

S, MS, START = make.S, make.MS, make.START
WORDS = "/active_instruction"


def box_at(folder, keep_bytes=800_000):
    return BlackBox(folder, keep_bytes=keep_bytes, latched=[WORDS], robot="so101")


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def messages_in(folder):
    return [message for segment in segments(folder) for message in open_bag(segment).messages()]


def noise(number, received_ns):
    """5 kB that cannot be compressed much."""
    return make.text("/instruction", os.urandom(2500).hex() + f" {number}", received_ns)


def test_it_never_grows_beyond_its_size_and_keeps_the_newest(tmp_path):
    box = box_at(tmp_path)
    box.write(make.text(WORDS, "lift the cube", START))
    most = 0
    for number in range(1000):
        box.write(noise(number, START + number * 20 * MS))
        if number % 50 == 0:
            box.flush()
            most = max(most, size_of(tmp_path))
    box.close()
    assert most <= 800_000 and size_of(tmp_path) <= 800_000
    bags = segments(tmp_path)
    assert SEGMENTS // 2 < len(bags) <= 2 * SEGMENTS
    last = [make.decoder().text(m) for m in open_bag(bags[-1]).messages(["/instruction"])]
    assert last[-1].endswith(" 999")
    # Each can be read alone: it begins with what holds.
    assert [next(iter(open_bag(bag).messages())).topic for bag in bags] == [WORDS] * len(bags)


def test_what_is_not_its_own_stays(tmp_path):
    for name in ("notes", "20260101", "20260101T000000Z_0000_mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x" * 1000)
    box = box_at(tmp_path, 80_000)
    for number in range(100):
        box.write(noise(number, START + number))
    box.close()
    assert (tmp_path / "notes" / "file").is_file() and (tmp_path / "20260101" / "file").is_file()
    assert (tmp_path / "20260101T000000Z_0000_mine" / "file").is_file()


def test_a_clock_that_goes_back_begins_another_bag(tmp_path):
    box = box_at(tmp_path)
    for received_ns in (START, START + S, 5 * S, 6 * S):
        box.write(make.text("/instruction", "x", received_ns))
    box.close()
    times = [[m.received_ns for m in open_bag(bag).messages()] for bag in segments(tmp_path)]
    assert times == [[START, START + S], [5 * S, 6 * S]]


WRITER = """
import sys, time
sys.path.insert(0, sys.argv[2])
import bag_messages as make
from vla_policy.data.black_box import BlackBox
box = BlackBox(sys.argv[1], keep_bytes=8_000_000, latched=[], robot="so101")
print("; ".join(box.recovered), flush=True)
n = 0
while True:
    box.write(make.text("/instruction", str(n), time.time_ns()))
    if n % 10 == 0:
        box.flush()
        print(n, flush=True)
    n += 1
    time.sleep(0.002)
"""


def test_killed_it_loses_what_was_not_flushed_and_the_next_start_says_so(tmp_path):
    helpers = os.path.dirname(make.__file__)
    command = [sys.executable, "-c", WRITER, tmp_path / "box", helpers]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    first.stdout.readline()
    flushed = 0
    end_s = time.monotonic() + 20.0
    while flushed < 100 and time.monotonic() < end_s:
        flushed = int(first.stdout.readline())
    with pytest.raises(Busy, match=f"process {first.pid} "):
        box_at(tmp_path / "box")
    first.send_signal(signal.SIGKILL)
    first.wait()
    box = box_at(tmp_path / "box")
    (said,) = box.recovered
    assert "closed with" in said
    numbers = [int(make.decoder().text(m)) for m in messages_in(tmp_path / "box")]
    assert numbers == list(range(len(numbers))) and len(numbers) > flushed
    box.close()


def test_a_bag_that_nobody_can_close_is_told_and_left(tmp_path):
    broken = tmp_path / "20260101T000000Z_0000"
    broken.mkdir()
    (broken / "20260101T000000Z_0000_0.mcap").write_bytes(b"not a bag")
    box = box_at(tmp_path)
    (said,) = box.recovered
    assert "not closed" in said and broken.is_dir()
    box.close()


def test_a_disk_that_refuses_is_told_and_tried_again(tmp_path):
    box = box_at(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, hard))
        with pytest.raises(OSError, match="File too large"):
            for number in range(100):
                box.write(noise(number, START + number))
                box.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    box.write(noise(100, START + S))
    box.close()
    last = [make.decoder().text(m) for m in messages_in(tmp_path)]
    assert len(last) > 1 and last[-1].endswith(" 100")


def test_events_are_the_changes_in_order(tmp_path):
    box = box_at(tmp_path)
    at = iter(range(START, START + 100 * S, S // 10))

    def status(**fields):
        return make.control_status(next(at), **fields)

    for message in (
        status(engaged=False, level=2, reason="disengaged", detail="not engaged"),
        status(engaged=False, level=2, reason="disengaged", detail="not engaged"),
        status(engaged=True),
        make.text("/instruction", "lift the cube", next(at)),
        make.text(WORDS, "lift the cube", next(at)),
        make.command(next(at), ("x",), level=1, reasons=["step"]),
        make.command(next(at), ("x",), level=1, reasons=["step"]),
        make.text("/instruction", "lift the cube", next(at)),
        status(engaged=True, level=3, reason="stop", detail="an operator stopped the robot"),
        make.text(WORDS, "", next(at)),
    ):
        box.write(message)
    box.close()
    found = list(events([open_bag(segment) for segment in segments(tmp_path)]))
    assert [(event.kind, event.text) for event in found] == [
        ("engaged", "no"),
        ("mode", "autonomous"),
        ("level", "hold disengaged: not engaged"),
        ("engaged", "yes"),
        ("level", "pass"),
        ("said", "'lift the cube'"),
        ("follows", "'lift the cube'"),
        ("guard", "slow step"),
        ("said", "'lift the cube'"),
        ("level", "stop stop: an operator stopped the robot"),
        ("follows", "nothing"),
    ]


def test_how_an_instruction_ended_has_the_name_of_its_outcome(tmp_path):
    kind, box = "vla_policy/msg/InstructionOutcome", box_at(tmp_path)
    for at, number in enumerate((0, 6, 99)):
        stamp_ns = START + at
        fields = {"instruction": "lift it", "outcome": number, "message": "why."}
        value = make.of(kind, header=make.header(stamp_ns), **fields)
        box.write(make.packed("/left/instruction_outcome", kind, value, stamp_ns))
    box.close()
    found = list(events([open_bag(segment) for segment in segments(tmp_path)]))
    ended = [f"'lift it' {name}: why." for name in ("done", "stopped", "99")]
    assert [(e.robot, e.kind, e.text) for e in found] == [("/left", "ended", t) for t in ended]
