"""The page in a real Chromium before real nodes and a mocked robot: what is done there reaches the robot, and what it does is seen.

One graph and one browser for all tests; each brings about what it needs. It runs where Chromium is installed, as
test/web/test_web_browser.py.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import axe
import numpy as np
import pytest
from chromium import MISSING, PROGRAM
from open_page import PHONE, WAIT_S, OpenPage, free_port

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import PointStamped  # noqa: E402
from vla_policy.msg import ActionChunk, ControlCommand, ControlStatus, RecorderStatus  # noqa: E402

from vla_policy.paths import find_embodiment  # noqa: E402
from vla_policy.ros.bringup.graph import NodeSpec, command_line, node_specs  # noqa: E402
from vla_policy.ros.bringup.processes import Processes  # noqa: E402
from vla_policy.ros.operator.client import Client  # noqa: E402
from vla_policy.ros.operator.watch import Lifecycles  # noqa: E402
from vla_policy.ros.process import qos  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason=MISSING)]
STUB = Path(__file__).with_name("page_policy.py")
READY_S = 90.0
VIEW = ", view: {position_m: [0.685, 0.0, 0.605], target_m: [0.305, 0.0, 0.015], fovy_deg: 41.0}}"


class Cell:
    """The graph as processes, an operator who listens, and one open page."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        robot = folder / "vx300s.yaml"
        line = "front: {topic: front/image_raw, type: image, max_age_s: 0.35, max_still_s: 1.0}"
        text = find_embodiment("vx300s").read_text()
        assert line in text
        robot.write_text(text.replace(line, line[:-1] + VIEW))
        self.port = port = free_port()
        self.processes = Processes(
            lambda name, line: self.lines.append(f"{name}: {line}"), command=_command
        )
        specs = node_specs(
            str(robot), mock=True, web_port=port, record=str(folder / "takes"), teleop="keyboard"
        )
        self.processes.start(_roomy(spec) for spec in specs)
        self.client = Client("test")
        self.heard = threading.Condition()
        self.chunks: list[ActionChunk] = []
        self.sent: list[tuple[float, ControlCommand]] = []
        self.recorder: list[RecorderStatus] = []
        self.places: list[PointStamped] = []
        node = self.client.node
        node.create_subscription(ActionChunk, "action_chunk", self._keep(self.chunks), qos.COMMAND)
        node.create_subscription(ControlCommand, "control_command", self._on_command, qos.TICKS)
        node.create_subscription(
            RecorderStatus, "recorder_status", self._keep(self.recorder), qos.LATCHED
        )
        node.create_subscription(
            PointStamped, "pointed_place", self._keep(self.places), qos.COMMAND
        )
        self.folder, self.page = folder, None

    def start(self):
        """Wait until all are active, and open the page."""
        lifecycles = Lifecycles(self.client.node, ("policy", "control", "task", "recorder"))
        waiting = ["policy", "control", "task", "recorder"]
        end = time.monotonic() + READY_S
        while waiting:
            assert not self.processes.ended() and time.monotonic() < end, "\n".join(
                self.lines[-20:]
            )
            waiting = [name for name in waiting if not lifecycles.active(name)]
            time.sleep(0.1)
        self.page = OpenPage(self.folder, self.port)
        self.page.open(cameras=2)

    def _keep(self, kept):
        def on_message(msg):
            with self.heard:
                kept.append(msg)
                self.heard.notify_all()

        return on_message

    def _on_command(self, msg):
        with self.heard:
            self.sent.append((time.monotonic(), msg))
            self.heard.notify_all()

    def wait(self, condition, what):
        """Until condition() holds, looked at whenever something was heard."""
        with self.heard:
            assert self.heard.wait_for(condition, WAIT_S), (what, self.lines[-15:])

    def moves(self):
        """The last command of the arm that went out, as x, y, z."""
        with self.heard:
            found = [msg.sent[:3] for _, msg in self.sent if np.isfinite(msg.sent[:3]).sum() == 3]
        return found[-1] if found else None

    def ready(self):
        """Autonomous, engaged, without an instruction."""
        for _ in range(100):
            try:
                if self.client.status.level == ControlStatus.LEVEL_STOP:
                    self.client.reset()
                self.client.press("hand_back")
                self.client.engage()
                return
            except ValueError:
                time.sleep(0.1)
        raise AssertionError(self.lines[-10:])

    def follows(self):
        """Under way with an instruction that was typed."""
        self.ready()
        count = len(self.sent)
        self.page.say("pick up the red cube")
        self.wait(
            lambda: len({tuple(m.sent[:2]) for _, m in self.sent[count:] if len(m.sent)}) > 5,
            "motion",
        )

    def take(self):
        """Count down and record some frames; again where a stream was late just when the take was to begin."""
        page = self.page
        for _ in range(8):
            page.until("!document.querySelector('#record-start').disabled")
            page.run("document.querySelector('#answer').className = ''")
            page.click("#record-start")
            begun = "!document.querySelector('#record-end').hidden"
            counts = "document.querySelector('#record-start').textContent.includes('cancel')"
            if not page.run(f"{counts} || {begun}"):
                continue  # a stream was late just when it was pressed
            page.until(f"document.querySelector('#answer.bad') !== null || {begun}")
            if page.run(begun):
                self.wait(lambda: self.recorder[-1].frames >= 8, "frames")
                return
        raise AssertionError(page.text("#answer"))

    def stands(self, what):
        """Once what was under way has ended, no command differs from the last."""
        time.sleep(0.7)
        rest = self.moves()
        time.sleep(0.5)
        assert max(abs(a - b) for a, b in zip(self.moves(), rest, strict=True)) < 1e-6, what

    def close(self):
        if self.page is not None:
            self.page.close()
        self.client.close()
        assert self.processes.stop() == ()


def _roomy(spec: NodeSpec) -> NodeSpec:
    """On however small a disk."""
    small = {"least_free_gb": 0.0} if spec.name == "recorder" else {}
    return NodeSpec(spec.name, {**spec.parameters, **small})


def _command(spec: NodeSpec) -> list[str]:
    line = command_line(spec)
    return [sys.executable, str(STUB), *line[2:]] if spec.name == "policy" else line


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    made = Cell(tmp_path_factory.mktemp("page"))
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_opening_the_page_moves_nothing(cell):
    before, chunks = cell.client.status.commands_sent, len(cell.chunks)
    cell.page.open(cameras=2)
    time.sleep(1.0)
    assert (cell.client.status.commands_sent, len(cell.chunks)) == (before, chunks), (
        "must not move"
    )
    assert "autonomous" in cell.page.text("#state")


def test_a_typed_instruction_is_followed_and_its_plan_is_drawn_over_the_picture(cell):
    page = cell.page
    page.watch_drawing()
    cell.follows()
    page.says("swing, 0 steps", "#said")
    page.says("swing, 0 steps", "#state")
    page.says("inference", "#time-told")
    page.says("a stub tries any sentence", "#state")
    page.wait_drawn("front")
    assert not page.drawn("wrist"), "where a camera is that moves is not known"


def test_a_live_slider_changes_the_next_chunk_and_shows_what_the_node_answers(cell):
    page = cell.page
    cell.follows()
    page.unfold("#controls-box")
    page.says("speed_share", "#controls")
    names = page.run("[...document.querySelectorAll('#controls label')].map((l) => l.textContent)")
    asked = {"num_steps", "solver", "guidance", "seed", "candidates", "speed_share", "point"}
    assert asked <= set(names)
    assert not {"scheme", "policy", "device"} & set(names), "they do not change while it works"
    fields = dict(
        page.run("[...document.querySelectorAll('#controls label')].map((l) => [l.textContent, '#' + l.htmlFor])")
    )  # fmt: skip
    assert page.run(f"document.querySelector('{fields['num_steps']}').type") == "range"
    page.focus(fields["num_steps"])
    for _ in range(3):
        page.key("ArrowRight", 39)
    page.says("num_steps is 3")
    cell.wait(lambda: abs(cell.chunks[-1].values[0] - 0.306) < 1e-9, "a chunk with three steps")
    assert page.run(f"document.querySelector('{fields['candidates']}').max") == "16"
    page.focus(fields["candidates"])
    page.key("ArrowRight", 39)
    page.says("candidates is 2")
    cell.wait(lambda: cell.chunks[-1].plan.endswith("2 drawn"), "a chunk of two candidates")
    # What the node refuses goes back to what it has.
    page.put(fields["guidance"], "2")
    page.says("takes no weight of the instruction")
    assert page.run(f"document.querySelector('{fields['guidance']}').value") == "1"
    # The place that it points at is published when it is asked for.
    page.click(fields["point"])
    page.says("point is true")
    cell.wait(lambda: cell.places, "it points")


def test_stop_pressed_while_it_moves_ends_commands_at_once_and_says_so(cell, record_property):
    page = cell.page
    cell.follows()
    pressed_s = time.monotonic()
    page.click("#stop")
    page.says("Stopped, confirmed after")
    time.sleep(0.5)
    # Positions stand: what goes out after the stop is the last command again.
    pairs = zip(cell.sent[1:], cell.sent, strict=False)
    last_s = max(s for (s, a), (_, b) in pairs if len(a.sent) and list(a.sent) != list(b.sent))
    record_property("last_new_command_after_the_press_ms", round(1000 * (last_s - pressed_s)))
    assert last_s - pressed_s < 1.0
    page.says("STOP", "#state")
    page.says("stopped", "#said")


def test_a_take_is_counted_down_recorded_and_discarded(cell):
    cell.ready()
    page = cell.page
    page.unfold("#record-box")
    page.put("#record-task", "swing")
    page.says("task: swing")
    page.say("swing along")
    page.until("!document.querySelector('#record-start').disabled")
    page.click("#record-start")
    page.says("cancel", "#record-start")
    page.click("#record-start")
    page.says("No take was begun")
    cell.take()
    assert cell.recorder[-1].task == "swing"
    streams = page.text("#record-streams")
    assert "/front/image_raw" in streams and "/control_command" in streams
    page.click("#record-end")
    page.until("!document.querySelector('#record-decide').hidden")
    assert "Advice" in page.text("#record-why")
    page.click("#record-discard")
    cell.wait(lambda: cell.recorder[-1].phase == RecorderStatus.IDLE, "discarded")
    assert cell.recorder[-1].saved == 0


def test_a_held_key_drives_and_a_released_one_does_not(cell):
    page = cell.page
    cell.follows()
    page.unfold("#drive-box")
    page.click("#take-over")
    page.says("A person is in control", "#drive-told")
    time.sleep(0.6)
    at = cell.moves()
    page.focus("#drive-keys")
    page.do(page.tab.press("w"))
    cell.wait(lambda: cell.moves()[0] > at[0] + 0.01, "driven forward")
    page.do(page.tab.release("w"))
    cell.stands("must not move: the key was released")
    # The focus that leaves is a hand that leaves.
    rest = cell.moves()
    page.focus("#drive-keys")
    page.do(page.tab.press("s"))
    cell.wait(lambda: cell.moves()[0] < rest[0] - 0.005, "driven back")
    page.focus("#words")
    cell.stands("must not move: the focus is elsewhere")
    page.click("#pause")
    page.says("paused", "#state")


def test_another_site_in_the_same_browser_reaches_nothing(cell):
    before = cell.client.status
    other = cell.page.do(cell.page.browser.open("about:blank"))
    script = """Promise.all([
      new Promise((done) => { const s = new WebSocket('ws://127.0.0.1:%d/control'); s.onopen = () => done('open'); s.onerror = () => done('refused'); }),
      fetch('http://127.0.0.1:%d/stop', {method: 'POST'}).then((r) => 'read ' + r.status, () => 'refused'),
      fetch('http://127.0.0.1:%d/').then((r) => r.text(), () => 'refused')])"""
    assert cell.page.do(other.run(script % (3 * (cell.port,)))) == ["refused"] * 3
    assert (cell.client.status.level, cell.client.status.mode) == (before.level, before.mode)


def test_it_can_be_used_by_keys_alone_at_the_size_of_a_phone(cell):
    page = cell.page
    page.do(page.tab.size(*PHONE, phone=True))
    assert not page.run("document.documentElement.scrollWidth > innerWidth")
    page.focus("main")
    seen = set()
    for _ in range(90):
        page.key("Tab", 9)
        seen.add(page.run("document.activeElement.id || document.activeElement.tagName"))
    wanted = {"words", "say", "stop", "reset", "engage", "take-over", "drive-keys", "record-task"}
    assert wanted <= seen, wanted - seen
    page.key("Escape", 27)
    page.says("Stopped, confirmed after")
    page.do(page.tab.size(1280, 720))


@pytest.mark.skipif(axe.script() is None, reason=axe.MISSING)
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_nothing(cell, scheme):
    page = cell.page
    page.do(page.tab.scheme(scheme))
    for size in ((1280, 720), PHONE):
        page.do(page.tab.size(*size))
        assert page.do(axe.violations(page.tab)) == []
    page.do(page.tab.size(1280, 720))


def test_cameras_that_die_are_shown_and_the_page_never_complained(cell):
    mock, old = cell.processes.pids()["mock"], "document.querySelectorAll('figcaption.bad').length"
    os.kill(mock, signal.SIGSTOP)
    try:
        cell.page.until(f"{old} === 2")
        assert "NO PICTURE" in cell.page.text("#big figcaption")
    finally:
        os.kill(mock, signal.SIGCONT)
    cell.page.until(f"{old} === 0")
    assert cell.page.tab.complaints == []
