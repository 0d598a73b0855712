"""A trial of a comparison through the running nodes: judged, timed and measured from their messages."""

import argparse

import pytest

rclpy = pytest.importorskip("rclpy")

from vla_policy.commands.compare import OPTIONS, add_arguments, plan_of  # noqa: E402
from vla_policy.ros.operator.graph_trials import graph_trials, refuse_suite  # noqa: E402


def test_a_trial_through_the_nodes_has_the_figures_of_one_in_a_process(tmp_path):
    settings = {**OPTIONS, "policy": "tiny", "head": "flow", "robot": "vx300s", "graph": True}
    with graph_trials(settings, tmp_path / "nodes.log") as trials:
        row = trials.run("pick_put", 0, tmp_path / "film.webm")
    assert row["success"] or row["failure"]
    assert row["success"] != (tmp_path / "film.webm").is_file() and row["film"] in (
        "",
        "film.webm",
    )
    assert (row["seed"], row["family"]) == (1_000_000, "pick") and row["instruction"]
    assert row["chunks"] >= 2 and len(row["chunk_ms"]) >= row["chunks"] - 1
    assert all(0 < ms < 10_000 for ms in row["chunk_ms"])
    assert row["ticks"] > 20 and row["jerk_rms"] > 0
    assert 50 < row["memory_mb"] < 5000


def test_the_expert_is_the_policy_of_a_running_graph(tmp_path):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    plan = plan_of(parser.parse_args(["--policy", "expert", "--graph"]))
    settings = {**plan.options, "policy": "expert", "head": None, "robot": "vx300s"}
    with graph_trials(settings, tmp_path / "nodes.log") as trials:
        # A pick, which is judged by its height: who reports it complete on the way up fails. A machine may stall in one.
        for _ in range(3):
            row = trials.run("pick_put", 0, None)
            if row["success"]:
                break
    assert row["family"] == "pick"
    assert row["success"], (tmp_path / "nodes.log").read_text()[-4000:]
    assert row["chunks"] >= 2 and row["ticks"] > 20 and row["jerk_rms"] > 0
    assert row["chunk_ms"] and all(ms > 0 for ms in row["chunk_ms"])
    assert 50 < row["memory_mb"] < 5000


def test_suites_that_the_simulation_node_does_not_have_are_told():
    assert refuse_suite("pick_put") == ""
    assert "nothing moves" in refuse_suite("first_frame")
    assert "no boxes with pictures" in refuse_suite("rt2_seen")
