"""A robot in motion, one fault at a time, and what went on the wire after it.

Times are stamps of the control node: of its commands and of its status. So a slow machine makes
nothing look later than it was. Set FAULT_TIMES to a file to have the reaction times written there.
"""

import json
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from std_srvs.srv import SetBool, Trigger

from vla_policy.ros.messages import convert

PERIOD_S = 0.02
RETRY_S = 3.0
TIMES = {}


@dataclass
class Cell:
    """A mock robot and the control node in another process."""

    robot: object
    process: object

    def engage(self, value=True):
        return self.robot.call(SetBool, "/control/engage", SetBool.Request(data=value))

    def be_ready(self):
        """Disengaged, not stopped, all inputs fresh."""
        robot = self.robot
        robot.wait(lambda: robot.statuses, "the first status")
        robot.wait_status(lambda s: s.reason != "inactive", "an active control node")
        self.engage(False)
        robot.call(Trigger, "/control/reset")
        robot.wait_status(lambda s: s.reason == "disengaged", "disengaged")
        robot.wait_ticks(1)  # what the test before has left on the way
        robot.clear()
        robot.pose = np.array([0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 1.0])

    def be_engaged(self):
        response = self.engage()
        for _ in range(50):
            if response.success:
                return
            self.robot.wait_ticks(1)
            response = self.engage()
        raise AssertionError(response.message)

    def move(self, *, rows=40, step_m=0.002, sequence=0):
        """A slow straight way, and wait until it is being followed; the observation's time.

        Sent again if a busy machine has let an input grow stale meanwhile.
        """
        stop = len(self.robot.targets)
        for again in range(8):
            obs_ns = self._send_way(rows, step_m, sequence + again)
            with self.robot.heard:
                if self.robot.heard.wait_for(
                    lambda: len(moves(self.robot.targets[stop:])) > 5, RETRY_S
                ):
                    return obs_ns
        raise AssertionError(f"no motion; last status: {self.robot.statuses[-1]}")

    def _send_way(self, rows, step_m, sequence):
        plan = np.tile([*self.robot.pose, 0.5], (rows, 1))
        plan[:, 0] += step_m * (np.arange(rows) + 1)
        self.way_end_m = plan[-1, 0]
        return self.robot.send_chunk(plan, sequence=sequence)

    def wait_for_motion_left(self):
        """Wait until the robot has gone 4 mm to its left from now on."""
        y = self.robot.pose[1]
        self.robot.wait(lambda: self.robot.pose[1] > y + 0.004, "motion to the left")

    def held(self, since_ns, *reasons):
        """The first status after since_ns that says HOLD or STOP for one of reasons; its time, s."""
        return self.robot.wait_status(
            lambda s: s.reason in reasons and stamp(s) >= since_ns, f"hold for {reasons}"
        )

    def last_move_ns(self):
        """Stamp of the last command that was not a repetition of the one before."""
        return moves(self.robot.targets)[-1]

    def nothing_moves(self, ticks=3):
        """Wait for later statuses and assert that no command after the newest of now moved.

        By stamps: what was sent before it may arrive after it.
        """
        since_ns, last = stamp(self.robot.statuses[-1]), max(0, len(self.robot.targets) - 1)
        self.robot.wait_ticks(ticks)
        assert [ns for ns in moves(self.robot.targets[last:]) if ns > since_ns] == []

    def moves_again(self, sequence=100):
        """A fresh chunk, and only that, makes the robot move again."""
        self.nothing_moves()
        self.move(rows=4, sequence=sequence)

    def within_limits(self):
        """Assert it of everything that was sent."""
        limits = self.robot.robot.limits.groups["arm"]
        targets = [t for t in self.robot.targets if t[2].frame_id == "base_link"]
        for before, after in pairwise(targets):
            dt_s = min(max((after[0] - before[0]) / 1e9, 0.0), 2 * PERIOD_S)
            if after[0] - before[0] > 10 * PERIOD_S * 1e9:
                continue  # begun anew from the measured position
            way_m = np.linalg.norm(after[1][:3] - before[1][:3])
            assert way_m <= limits.linear_speed_m_s * dt_s + 1e-6
        for _, pose, _ in targets:
            assert (pose[:3] >= limits.workspace.lower).all()
            assert (pose[:3] <= limits.workspace.upper).all()
            assert np.isfinite(pose).all()


def stamp(status):
    return convert.ns_from_stamp(status.header.stamp)


def moves(targets):
    """Stamps of the commands that differ from the one before."""
    return [b[0] for a, b in pairwise(targets) if np.abs(a[1] - b[1]).max() > 1e-9]


@pytest.fixture
def cell(mock_robot, shared_nodes):
    """Ready to be engaged; whatever the test does, all commands must have been within limits."""
    found = Cell(mock_robot, shared_nodes("control_node"))
    found.be_ready()
    yield found
    found.within_limits()


@pytest.fixture
def cell_of():
    """cell_of(robot, process) -> Cell around a control node that the test has started itself."""
    return Cell


@pytest.fixture
def moves_of():
    """moves_of(targets) -> stamps of the commands that moved the robot."""
    return moves


@pytest.fixture
def reaction():
    """reaction(fault, seconds, bound_s): note a measured time and assert that it is in its bound."""

    def note(fault, seconds, bound_s):
        TIMES[fault] = {"reaction_s": round(float(seconds), 4), "bound_s": round(bound_s, 4)}
        assert seconds <= bound_s, f"{fault}: {seconds:.3f} s, at most {bound_s} s is allowed"

    return note


def pytest_sessionfinish(session):
    path = os.environ.get("FAULT_TIMES")
    if path and TIMES:
        Path(path).write_text(json.dumps(TIMES, indent=1, sort_keys=True) + "\n")
