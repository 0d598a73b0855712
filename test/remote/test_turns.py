"""Whose request is next: as often as the others, whatever happened to the batches before."""

import heapq
import random

from vla_policy.remote import turns
from vla_policy.remote.turns import Job, Turns


def job(client, kind="k", deadline_s=1e9):
    return Job(client, None, deadline_s, kind)


def clients(batch):
    return [one.client for one in batch]


def test_robots_take_turns_and_one_that_asks_a_lot_waits_for_itself():
    queue = Turns()
    for client in "aaab":
        queue.put(job(client))
    queue.put(job("c", kind=None))
    assert [clients(queue.next(2)) for _ in range(4)] == [["a", "b"], ["c"], ["a"], ["a"]]
    assert queue.next(2) == [] and len(queue) == 0


def test_a_robot_that_was_overtaken_is_before_those_that_overtook_it():
    queue = Turns()
    for client in "ab":
        queue.put(job(client))
    assert clients(queue.next(1)) == ["a"] and clients(queue.next(1)) == ["b"]
    for _ in range(3):  # b's batch takes long; a is answered and asks again
        queue.put(job("a"))
        assert clients(queue.next(1)) == ["a"]
    queue.put(job("a"))
    queue.put(job("b"))
    assert clients(queue.next(1)) == ["b"]
    queue.put(job("b"))
    assert clients(queue.next(1)) == ["b"]  # it had less
    queue.put(job("b"))
    assert clients(queue.next(1)) == ["a"]  # and does not keep the turns that it did not want


def test_who_comes_anew_for_each_request_is_not_before_those_who_stay():
    queue, served = Turns(), []
    queue.put(job("stays"))
    queue.next(1)
    queue.put(job("stays"))
    for number in range(20):
        queue.put(job(number))
        served += clients(queue.next(1))
    assert "stays" in served[:3]


def test_a_robot_that_asks_rarely_is_soon_next():
    queue = Turns()
    queue.put(job("rare"))
    for client in "abcd" * 10:
        queue.put(job(client))
    for _ in range(20):
        queue.next(1)
    queue.put(job("rare"))
    assert clients(queue.next(1)) == ["rare"]


def test_what_is_before_a_robot_is_what_it_waits_for():
    queue = Turns()
    for client in "aabc":
        queue.put(job(client))
    assert [queue.before(c) for c in "abcd"] == [4, 4, 4, 3]
    for _ in range(3):
        queue.next(1)
    for client in "abc":  # each has had one turn; a waits with its second
        assert queue.before(client) == 1
    queue.put(job("a"))
    assert queue.before("b") == 1 and queue.before("a") == 2
    for expected in ("a", "a"):
        assert clients(queue.next(1)) == [expected]
    queue.put(job("a"))
    assert queue.before("b") == queue.before("c") == 0  # a had more


def test_late_jobs_leave_and_their_robot_keeps_its_turn():
    queue = Turns()
    queue.put(job("a", deadline_s=1.0))
    queue.put(job("b"))
    assert clients(queue.late(2.0)) == ["a"]
    queue.put(job("a"))
    assert [clients(queue.next(1)) for _ in range(2)] == [["b"], ["a"]]


def test_robots_that_went_away_are_forgotten(monkeypatch):
    monkeypatch.setattr(turns, "KNOWN", 4)
    queue = Turns()
    for number in range(50):
        queue.put(job(number))
        queue.next(1)
    assert len(queue._turns) == 4


def test_a_slower_copy_and_uneven_batches_take_no_turns_from_anybody():
    """Two copies, one of which takes twice as long; eight robots that ask again as soon as they are answered."""
    rng, queue, counts = random.Random(1), Turns(), dict.fromkeys(range(8), 0)
    free, running, asking, now_s = [1.0, 2.0], [], [(0.001 * i, i) for i in range(8)], 0.0
    while now_s < 60.0:
        if running and (not asking or running[0][0] <= asking[0][0]):
            now_s, slow, batch = heapq.heappop(running)
            free.append(slow)
            for one in batch:
                counts[one] += 1
                heapq.heappush(asking, (now_s + rng.uniform(0.004, 0.012), one))
        else:
            now_s, client = heapq.heappop(asking)
            queue.put(job(client))
        while free and len(queue):
            out = len(queue) + sum(len(batch) for *_, batch in running)
            batch = clients(queue.next(max(1, -(-out // 3))))
            slow = free.pop(0)
            took_s = slow * (0.03 + 0.015 * len(batch)) * rng.uniform(0.7, 1.6)
            heapq.heappush(running, (now_s + took_s, slow, batch))
    assert min(counts.values()) > 100
    assert max(counts.values()) / min(counts.values()) < 1.05
