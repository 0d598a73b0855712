"""A server bears whatever is sent to it, and goes on serving those who behave. benchmarks/serve_hostile.py is the large one."""

import asyncio
import contextlib
import random
import socket
import threading
import time

import pytest
from hostile import frames
from serving import ROWS, Played, Running, observation
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from vla_policy.policy import load_policy
from vla_policy.remote import gate, server
from vla_policy.remote.batcher import Batcher
from vla_policy.remote.serving import Serving
from vla_policy.remote.turns import Job, Turns
from vla_policy.types import Reason


def test_hostile_frames_are_answered_with_a_sentence_and_others_go_on():
    with Running() as running:
        good = load_policy(running.address)
        answered = 0
        for start in range(10):
            with connect(running.address, compression=None) as bad:
                bad.recv()
                for frame in frames(random.Random(start), 24):
                    try:
                        bad.send(frame)
                        said = bad.recv(timeout=2)
                    except ConnectionClosed:
                        break
                    answered += 1
                    assert b"Traceback" not in (said if isinstance(said, bytes) else said.encode())
            assert len(good.infer(observation()).actions) == ROWS
        good.close()
        assert answered >= 30
        assert not [line for line in running.log if line["event"] == "model_raised"]


def test_a_frame_that_is_too_large_or_text_ends_the_connection():
    with Running(serving=Serving(port=0, max_bytes=5000)) as running:
        for sent in (bytes(6000), "hello"):
            with connect(running.address, compression=None) as bad:
                bad.recv()
                bad.send(sent)
                with pytest.raises(ConnectionClosed):
                    while True:
                        bad.recv(timeout=2)
        good = load_policy(running.address)
        assert len(good.infer(observation(size=(10, 10))).actions) == ROWS
        good.close()


def test_who_says_nothing_in_time_is_turned_away(monkeypatch):
    monkeypatch.setattr(gate, "HEAD_S", 0.2)
    monkeypatch.setattr(server, "PING_S", 0.1)
    with Running(serving=Serving(port=0, connections=4, strangers=4)) as running:
        half = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(8)]
        half[0].sendall(b"GET / HTTP/1.1\r\nHost: x")
        for one in half:
            one.settimeout(2)
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(1) == b""
            one.close()
        good = load_policy(running.address)
        silent = connect(running.address, compression=None)
        with silent as slow:
            slow.recv()
            raw = slow.socket
            raw.sendall(
                b"\x82\xfe\x10\x00\x00\x00\x00\x00"
            )  # the head of a frame that never comes
            ended = time.monotonic() + 3
            while running.server.metrics.robots > 1 and time.monotonic() < ended:
                raw.sendall(b"\x00")
                time.sleep(0.02)
        assert running.server.metrics.robots == 1
        assert len(good.infer(observation()).actions) == ROWS
        good.close()
        assert running.server.metrics.refused["slow"] == 8


def test_one_more_robot_than_there_may_be_is_told_so():
    with Running(serving=Serving(port=0, connections=1)) as running:
        first = load_policy(running.address)
        with pytest.raises(
            ConnectionError, match="HTTP 503: 1 robots are connected, which is the most"
        ):
            load_policy(running.address)
        assert len(first.infer(observation()).actions) == ROWS
        first.close()


def test_turns_are_fair_and_batches_are_of_one_kind():
    turns = Turns()
    jobs = {name: [Job(name, f"{name}{i}", 10.0, kind) for i in range(n)]
            for name, n, kind in (("a", 3, "k"), ("b", 1, "k"), ("c", 2, "other"), ("d", 1, None))}  # fmt: skip
    for job in (job for some in jobs.values() for job in some):
        turns.put(job)
    batches = [[job.work for job in turns.next(2)] for _ in range(5)]
    assert batches == [["a0", "b0"], ["c0"], ["d0"], ["a1"], ["c1"]]
    assert (
        [job.work for job in turns.next(8)] == ["a2"] and turns.next(8) == [] and len(turns) == 0
    )
    turns.put(Job("a", 1, 5.0))
    turns.put(Job("a", 2, 6.0))
    assert [job.work for job in turns.late(5.0)] == [1] and turns.of("a") == 1


def test_the_batcher_says_no_rather_than_being_late():
    async def run():
        ran = []

        def answer(works):
            ran.append(list(works))
            time.sleep(0.1)
            return list(works)

        batcher = Batcher(answer, most=2)
        now = time.monotonic()
        assert (
            await batcher.submit("a", 0, deadline_s=now + 5) == 0
        )  # 0.1 s a batch is known from here on
        now = time.monotonic()
        asked = [
            batcher.submit(name, name, deadline_s=now + allowed, kind="k")
            for name, allowed in (("a", 5), ("b", 5), ("c", 5), ("d", 0.15))
        ]
        got = await asyncio.gather(*asked)
        assert got[:3] == ["a", "b", "c"] and got[3].code == "busy", got
        tasks = [
            asyncio.create_task(batcher.submit(n, n, deadline_s=time.monotonic() + 5))
            for n in "ab"
        ]
        batches = len(ran)
        while len(ran) == batches:
            await asyncio.sleep(0.001)
        tasks[1].cancel()  # went away while the other one is computed
        await asyncio.gather(*tasks, return_exceptions=True)
        assert "b" not in ran[-1]
        await batcher.close()
        assert (await batcher.submit("a", 1, deadline_s=now + 50)).code == "closing"
        return ran

    ran = asyncio.run(run())
    assert max(len(batch) for batch in ran) == 2


def test_lanes_leave_some_for_the_first_that_is_free_and_are_reckoned_with():
    """Else the same robots would come together again and again, those of a small batch or a fast lane more often."""

    async def run():
        sizes, begun, passed = [], threading.Barrier(3), threading.Event()

        def answer(works):
            sizes.append(len(works))
            if not passed.is_set():
                begun.wait(10)
                assert passed.wait(10)
            return list(works)

        batcher = Batcher(answer, most=8, lanes=2)
        batcher.load.batch_s = 1.0
        asked = [
            asyncio.create_task(batcher.submit(i, i, deadline_s=time.monotonic() + 60, kind="k"))
            for i in range(7)
        ]
        await asyncio.to_thread(begun.wait, 10)
        began_s = batcher.load.began_s[0]
        assert batcher.expected_s(began_s + 0.25, "another") == pytest.approx(1.75, abs=0.01)
        passed.set()
        assert await asyncio.gather(*asked) == list(range(7))
        await batcher.close()
        return sizes

    assert asyncio.run(run()) == [3, 3, 1]


def test_a_request_whose_deadline_passed_while_it_waited_is_not_computed():
    async def run():
        ran, begun, passed = [], threading.Event(), threading.Event()

        def answer(works):
            ran.append(list(works))
            begun.set()
            assert passed.wait(10)
            return list(works)

        batcher = Batcher(answer)
        long = asyncio.create_task(batcher.submit("a", "long", deadline_s=time.monotonic() + 60))
        assert await asyncio.to_thread(begun.wait, 10)
        deadline_s = time.monotonic() + 0.3
        asyncio.get_running_loop().call_later(0.4, passed.set)
        late = await batcher.submit("b", "short", deadline_s=deadline_s)
        assert isinstance(late, Reason) and late.code == "late"
        assert time.monotonic() > deadline_s
        await long
        await batcher.close()
        assert ran == [["long"]]

    asyncio.run(run())


def test_a_server_that_ends_answers_what_it_computes():
    played = Played()
    with Running(played) as running:
        there = load_policy(running.address)
        played.wait_s = 0.3
        got = []
        thread = threading.Thread(target=lambda: got.append(there.infer(observation())))
        thread.start()
        while len(played.calls) < 1:
            time.sleep(0.01)
    thread.join(3)
    assert len(got) == 1 and len(got[0].actions) == ROWS
