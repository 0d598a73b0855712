"""A recorder that is killed, and one whose disk is full, in processes of their own (benchmarks/data_kill.py)."""

import importlib.util
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "benchmarks" / "data_kill.py"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("data_kill", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_saved_episode_is_there_after_a_kill(program, tmp_path):
    """Each time the set is compared with what the recorder had said before; `make check` leaves this out."""
    saved = 0
    for delay in (0.4, 0.1, 0.7):
        found = program.kill_once(tmp_path / "set", delay)
        assert found["there"] >= found["saved"] >= saved
        saved = found["saved"]
    assert saved > 0


@pytest.mark.slow
def test_a_full_disk_is_a_sentence_and_costs_no_saved_episode(program, tmp_path):
    found = program.full_disk(tmp_path)
    assert found["saved"] > 0
    assert found["after_room_came"] >= found["saved"]
    assert "no room on the disk" in found["told"]
