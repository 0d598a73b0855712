"""A take that is kept from the page, in a real Chromium before a real recorder: saved, and listed.

The robot is played. The rest of the library is in test/web/test_web_parts_browser.py, which needs no nodes.
"""

from __future__ import annotations

import os
import time

import pytest
from chromium import MISSING, PROGRAM
from open_page import WAIT_S, OpenPage, free_port

rclpy = pytest.importorskip("rclpy")

from std_srvs.srv import SetBool  # noqa: E402
from vla_policy.msg import RecorderStatus  # noqa: E402

from vla_policy.data.lerobot.reader import open_set  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason=MISSING)]
TRIES = 8


def press(page, selector):
    """Press a button where it is, though pictures and rows that come move it about."""
    page.run(f"document.querySelector({selector!r}).click()")


class Cell:
    """The robot, its recorder and one open page."""

    def __init__(self, robot, page, folder):
        self.robot, self.page, self.folder = robot, page, folder
        self.status = None
        robot.create_subscription(RecorderStatus, "recorder_status", self._on_status, qos.LATCHED)

    def _on_status(self, msg):
        with self.robot.heard:
            self.status = msg
            self.robot.heard.notify_all()

    def engage(self):
        for _ in range(30):
            self.robot.wait_status(lambda s: 0 <= s.joint_state_age < 0.1, "fresh joint states")
            if self.robot.call(SetBool, "/control/engage", SetBool.Request(data=True)).success:
                return
            self.robot.wait_ticks(1)
        raise AssertionError("not engaged")

    def told_the_task(self, task):
        """The recorder has taken the task, which may not be there yet, or not be discovered."""
        self.robot.wait(lambda: self.status is not None, "the recorder")
        self.page.until("!document.querySelector('#record-some').hidden")
        end = time.monotonic() + WAIT_S
        while self.status.task != task:
            assert time.monotonic() < end, self.page.text("#answer")
            self.page.put("#record-task", task)
            time.sleep(1.0)

    def take(self):
        """Count down and record; again where a stream was late just when the take was to begin."""
        page = self.page
        begun = "!document.querySelector('#record-end').hidden"
        counts = "document.querySelector('#record-start').textContent.includes('cancel')"
        for _ in range(TRIES):
            page.until("!document.querySelector('#record-start').disabled")
            page.run("document.querySelector('#answer').className = ''")
            press(page, "#record-start")
            if not page.run(f"{counts} || {begun}"):
                continue  # a stream was late just when it was pressed
            page.until(f"document.querySelector('#answer.bad') !== null || {begun}")
            if page.run(begun):
                self.robot.send_chunk([self.robot.pose[0] + 0.004 * (k + 1) for k in range(8)])
                self.robot.wait(lambda: self.status and self.status.frames >= 8, "frames")
                return
        raise AssertionError(page.text("#answer"))


@pytest.fixture
def cell(mock_robot, start_node, tmp_path, monkeypatch):
    # The library's processes give way to everything; beside other tests they would wait for ever.
    (tmp_path / "nice").write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    (tmp_path / "nice").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    port, folder = free_port(), tmp_path / "takes"
    start_node("control_node")
    start_node("recorder_node", folder=folder, least_free_gb=0.0)
    start_node("web_node", port=port)
    page = OpenPage(tmp_path, port)
    try:
        page.open(cameras=2)
        yield Cell(mock_robot, page, folder)
    finally:
        page.close()


def test_a_kept_take_is_in_the_set_and_in_the_library(cell):
    page = cell.page
    cell.engage()
    page.unfold("#record-box")
    cell.told_the_task("push the block")
    cell.take()
    press(page, "#record-end")
    page.until("!document.querySelector('#record-decide').hidden")
    saved = "document.querySelector('#answer').textContent.includes('episode 0 is saved')"
    press(page, "#record-success")
    page.until(f"{saved} || document.querySelector('#answer.bad') !== null")
    if not page.run(saved):
        press(page, "#record-success")  # one with faults is kept on the second request
    page.says("episode 0 is saved")
    kept = open_set(cell.folder / "set")
    assert len(kept) >= 8 and kept.task(0) == "push the block" and kept.success(0)

    page.unfold("#library-box")
    page.says("push the block", "#library")
    press(page, "#library button[aria-label='delete episode 0 of takes']")
    page.says("the recorder has this data set open")
    assert len(open_set(cell.folder / "set")) == len(kept)
    assert page.tab.complaints == []
