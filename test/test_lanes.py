"""Which worker of a parallel run takes which file."""

from pathlib import Path
from unittest.mock import create_autospec

import lanes
import pytest

FILES = ["test/check/test_a.py", "test/ros/test_b.py", "test/ros/faults/test_c.py"]


@pytest.mark.parametrize(
    ("workers", "quiet"), [(1, []), (2, [1]), (3, [2]), (5, [4]), (6, [4, 5])]
)
def test_some_lanes_are_quiet_and_never_all(workers, quiet):
    assert [n for n in range(workers + 1) if lanes.is_quiet(n, workers)] == quiet


def test_a_quiet_lane_takes_no_file_with_nodes():
    assert lanes.next_file(FILES, quiet=True) == FILES[0]
    assert lanes.next_file(FILES[1:], quiet=True) is None


def test_the_others_take_those_first_and_help_then():
    assert lanes.next_file(FILES, quiet=False) == FILES[1]
    assert lanes.next_file(FILES[:1], quiet=False) == FILES[0]
    assert lanes.next_file([], quiet=False) is None


def test_the_files_that_are_named_exist():
    root = Path(__file__).parents[1]
    assert [name for name in (*lanes.LONG, *lanes.TIMED) if not (root / name).exists()] == []


def test_what_takes_long_is_begun_first(monkeypatch):
    monkeypatch.setattr(lanes, "LONG", (FILES[2], "test/gone.py"))
    assert lanes.next_file(FILES, quiet=False) == FILES[2]


def test_workers_of_one_run_speak_in_domains_of_their_own(monkeypatch):
    monkeypatch.setenv(lanes.RUN, "a run")
    monkeypatch.setenv(lanes.WORKERS, "6")
    found = set()
    for number in range(6):
        monkeypatch.setenv(lanes.WORKER, f"gw{number}")
        found.add(lanes.free_domain())
    assert len(found) == 6 and found <= set(lanes.DOMAINS)


def test_a_worker_takes_its_domains_in_turn(monkeypatch):
    monkeypatch.setenv(lanes.RUN, "a run")
    monkeypatch.setenv(lanes.WORKERS, "6")
    monkeypatch.setenv(lanes.WORKER, "gw4")
    monkeypatch.setattr(lanes, "is_free", create_autospec(lanes.is_free, return_value=True))
    seen = [lanes.free_domain()]
    for _ in range(3):  # 17 domains: three are its own
        seen.append(lanes.free_domain(seen[-1]))
    assert len(set(seen)) == 3 and seen[0] == seen[3]
    assert lanes.free_domain(7) == seen[0], "after one that is nobody's"
