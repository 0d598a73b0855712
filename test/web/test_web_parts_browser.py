"""Parts of the page in a real Chromium before a server whose robot is a stand-in: fingers that drive, the adapter, the library.

One browser for all; each test brings about what it needs. VLA_PICTURES as for test/ros/test_page.py.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from chromium import MISSING, PROGRAM
from clean_sets import image
from demonstrations import recorded_set
from open_page import WAIT_S, OpenPage
from web_site import Site, answered

from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.durable import lock_folder
from vla_policy.data.lerobot.reader import open_set
from vla_policy.ros.nodes import web_library
from vla_policy.ros.nodes.web_library import Library
from vla_policy.web.documents import Documents
from vla_policy.web.panel import Answer, Deed

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason=MISSING)]
STILL = [0.0] * 6
FORWARD, UP = ("#drive-pad [data-key=w]", 0), ("#drive-pad [data-key=r]", 2)


class Parts:
    """The site, what it was asked, and an open page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "sets"
        self.twists: list[list[float]] = []
        self.adapters: list[str] = []
        self.heard = threading.Condition()
        self.all_stopped = [
            Answer(False, "fr3 in /right: no answer in 1 s (stopped: vx300s in /left)")
        ]
        more: dict[str, Deed] = {
            "adapter": Deed(self._on_adapter),
            "stop_all": Deed(self._on_stop_all, moves=False, urgent=True),
        }
        documents = Documents()
        self.site = Site(more=more, drive=self._on_drive, documents=documents)
        panel = self.site.panel
        self.library = Library(panel, documents, str(self.folder), lambda: "")
        more.update(self.library.deeds())
        panel.tell(engaged=True, level="PASS", queue=0, commands=0, mode="autonomous")
        self.page = OpenPage(folder, self.site.port)
        self.page.open(cameras=0)

    def _on_drive(self, details):
        with self.heard:
            self.twists.append(details["twist"])
            self.heard.notify_all()

    def _on_adapter(self, details):
        self.adapters.append(details["name"])
        if details["name"] == "lids":
            return answered(Answer(False, "lids: its base is another policy"))
        self.site.panel.tell(chunk={"number": 7, "adapter": details["name"], "latency_s": 0.1, "inference_s": 0.1})  # fmt: skip
        return answered(Answer(True, f"the next chunk is by {details['name']}"))

    def _on_stop_all(self, details):
        """As it was told; by the second request all are stopped."""
        done = Answer(True, "vx300s in /left, fr3 in /right")
        return answered(self.all_stopped.pop() if self.all_stopped else done)

    def wait(self, condition, what):
        """Until condition() holds, looked at whenever the page drives."""
        with self.heard:
            assert self.heard.wait_for(condition, WAIT_S), (what, self.twists[-5:])

    def count(self):
        with self.heard:
            return len(self.twists)

    def fingers(self, kind, *selectors):
        """touchStart, touchMove or touchEnd, with a finger on each of these buttons."""
        middle = (
            "[...document.querySelectorAll(%r)].map((e) => { const b = e.getBoundingClientRect(); "
            "return {x: b.x + b.width / 2, y: b.y + b.height / 2}; })[0]"
        )
        points = [
            {**self.page.run(middle % selector), "id": number}
            for number, selector in enumerate(selectors)
        ]
        tab = self.page.tab
        self.page.do(tab.call("Input.dispatchTouchEvent", type=kind, touchPoints=points))

    def rests(self, count):
        """Nothing but rest is sent after the messages that were on their way, and then nothing."""
        self.wait(lambda: self.twists[count:][-1:] == [STILL], "the hand is gone")
        rest = self.count()
        time.sleep(0.5)
        assert all(twist == STILL for twist in self.twists[rest:]), "must not move"
        last = self.count()
        time.sleep(0.3)
        assert self.count() == last, "a page that nobody holds sends nothing"

    def close(self):
        try:
            self.page.close()
        finally:
            self.library.close()
            self.site.server.close()


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # These processes give way to everything; beside other tests they would wait for ever.
        patch.setattr(web_library, "IDLE", ())
        made = Parts(tmp_path_factory.mktemp("parts"))
        yield made
        made.close()


def test_fingers_drive_while_they_touch_and_no_longer(parts):
    page = parts.page
    page.do(page.tab.size(390, 844, phone=True))
    page.do(page.tab.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=5))
    page.unfold("#drive-box")
    page.run("document.querySelector('#drive-pad').scrollIntoView({block: 'center'})")
    parts.site.panel.tell(mode="autonomous", teleop="keyboard")
    page.says("Take over to drive", "#drive-told")
    before = parts.count()
    parts.fingers("touchStart", FORWARD[0])
    time.sleep(0.3)
    parts.fingers("touchEnd")
    assert parts.count() == before, "must not move: nobody has taken over"

    parts.site.panel.tell(mode="teleoperated")
    page.says("A person is in control", "#drive-told")
    forward = [0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    parts.fingers("touchStart", FORWARD[0])
    parts.wait(lambda: parts.twists[before:].count(forward) >= 3, "a finger drives forward")
    parts.fingers("touchStart", FORWARD[0], UP[0])
    both = [0.5, 0.0, 0.5, 0.0, 0.0, 0.0]
    parts.wait(lambda: parts.twists[-1] == both, "two fingers")
    count = parts.count()
    parts.fingers("touchEnd")
    parts.rests(count)

    # A finger that slides off still holds what it has pressed, and lets it go when it leaves the glass.
    parts.fingers("touchStart", FORWARD[0])
    parts.wait(lambda: parts.twists[-1] == forward, "it drives again")
    parts.fingers("touchMove", UP[0])
    count = parts.count()
    parts.wait(lambda: parts.twists[count + 2 :] != [], "it still drives")
    assert parts.twists[-1] == forward
    count = parts.count()
    parts.fingers("touchCancel")
    parts.rests(count)
    # Who loses control of the robot does not keep the finger's motion for later.
    parts.fingers("touchStart", FORWARD[0])
    parts.wait(lambda: parts.twists[-1] == forward, "it drives once more")
    count = parts.count()
    parts.site.panel.tell(mode="paused")
    parts.rests(count)
    parts.fingers("touchEnd")
    page.do(page.tab.call("Emulation.setTouchEmulationEnabled", enabled=False))
    page.do(page.tab.size(1280, 720))


def test_the_adapter_is_chosen_among_those_in_memory_and_a_refused_one_goes_back(parts):
    page = parts.page
    control = {
        "node": "policy", "name": "seed", "kind": "int", "says": "of the noise", "choices": [],
        "low": 0, "high": 100, "value": 0,
    }  # fmt: skip
    parts.site.panel.tell(controls=[control], adapters=["", "cups", "lids"])
    page.unfold("#controls-box")
    page.says("adapter", "#controls")
    choice = "[...document.querySelectorAll('#controls select')].at(-1)"
    names = page.run(f"[...{choice}.options].map((o) => o.textContent)")
    assert names == ["the base alone", "cups", "lids"]
    page.run(f"{choice}.id = 'adapter'")
    page.put("#adapter", "cups")
    page.says("the next chunk is by cups")
    page.says("cups", "#state")
    page.put("#adapter", "lids")
    page.says("its base is another policy")
    assert page.run(f"{choice}.value") == "cups"
    assert parts.adapters == ["cups", "lids"]


def test_other_robots_are_listed_and_stopped_with_this_one(parts):
    page, tell = parts.page, parts.site.panel.tell
    tell(robot={"name": "vx300s", "namespace": "/left"}, robots=[])
    page.says("vx300s, /left", "#robot")
    assert page.run("document.title") == "vx300s, /left"
    assert page.run("document.querySelector('#stop-all').hidden"), "there is no other"
    right = {
        "name": "fr3", "namespace": "/right", "page": "http://127.0.0.1:8766/",
        "level": "HOLD", "engaged": False, "why": "no operator has engaged the robot",
    }  # fmt: skip
    silent = {
        "name": "", "namespace": "/far", "page": "javascript:alert(1)",
        "level": None, "engaged": None, "why": "it does not report",
    }  # fmt: skip
    tell(robots=[right, silent])
    page.says("HOLD, not engaged: no operator has engaged the robot", "#robots")
    page.says("a robot, /far unknown: it does not report", "#robots")
    links = "[...document.querySelectorAll('#robots a')].map((a) => [a.href, a.textContent])"
    assert page.run(links) == [["http://127.0.0.1:8766/", "fr3, /right"]]
    page.run("document.querySelector('#robots a').focus()")
    tell(robots=[{**right, "level": "PASS", "engaged": True, "why": "as planned"}, silent])
    page.says("PASS, engaged: as planned", "#robots")
    assert page.run("document.activeElement.textContent") == "fr3, /right", "a row stays in place"
    # Every text that stands there at some time is kept.
    page.run(
        "(() => { window.all = []; new MutationObserver(() => all.push(document.querySelector('#answer-all').textContent))"
        ".observe(document.querySelector('#answer-all'), {subtree: true, childList: true, characterData: true}); })()"
    )
    page.click("#stop-all")
    page.says("Stopped, confirmed after", "#answer")
    page.says("vx300s in /left, fr3 in /right", "#answer-all")
    parts.site.panel.show("front", lambda: image(0, 7, "front", (480, 640)))
    page.picture("page_robots.png")
    told = page.run("all")
    assert any("NOT STOPPED: fr3 in /right: no answer in 1 s" in text for text in told), told
    assert parts.site.robot.stop.call_count >= 1, "its own robot is stopped in its own way too"
    page.click("#reset")
    page.until("document.querySelector('#answer-all').textContent === ''")


def test_an_episode_is_looked_at_apart_from_the_page_then_deleted_and_brought_back(parts):
    page, root = parts.page, recorded_set(parts.folder / "cups", (7, 5, 6))

    def lengths():
        return [entry.length for entry in open_set(root).entries]

    # Closed and opened again it looks anew; a test that is tried again finds it so.
    page.run("document.querySelector('#library-box').open = false")
    page.unfold("#library-box")
    page.says("cups: 3 episodes", "#library")
    page.click("#library button[aria-label='view episode 2 of cups']")
    page.until("document.querySelector('#library a') !== null")
    view = page.do(page.browser.open(page.run("document.querySelector('#library a').href")))
    page.do(view.until("document.querySelector('#cameras') !== null", WAIT_S))
    assert page.do(view.run("origin")) == "null", (
        "it has no origin, so it reaches nothing of the page"
    )
    delete = "#library button[aria-label='delete episode 1 of cups']"
    with lock_folder(root / layout.STAGING):  # as a recorder has it
        page.click(delete)
        page.says("records or changes this data set already", "#library-told")
    assert lengths() == [7, 5, 6]
    page.click(delete)
    page.says("episode 1 is deleted")
    page.says("cups: 2 episodes", "#library")
    assert lengths() == [7, 6]
    undo = "[...document.querySelectorAll('#library button')].find((b) => b.textContent.startsWith('Undo'))"
    page.run(f"{undo}.id = 'undo'")
    page.click("#undo")
    page.says("brought back")
    page.says("cups: 3 episodes", "#library")
    assert lengths() == [7, 5, 6]
    assert page.tab.complaints == []
