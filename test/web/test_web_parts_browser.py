"""Parts of the page in a real Chromium before a server whose robot is a stand-in: fingers that drive, the adapter, the library.

One browser for all; each test brings about what it needs. VLA_PICTURES=FOLDER keeps a picture, as docs/images has it.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import pytest
from chromium import MISSING, PROGRAM
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
FORWARD, UP = "#drive-pad [data-key=w]", "#drive-pad [data-key=r]"
TRIES, AGAIN_S = 10, 6.0
SCENE = Path(__file__).parents[2] / "docs/images/gallery/tiny_put.webp"


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

    def gesture(self, act, condition, what):
        """Make a gesture until condition(messages since) holds: a page whose link stalls lets go by itself."""
        for _ in range(TRIES):
            count = self.count()
            act()
            with self.heard:
                if self.heard.wait_for(
                    lambda count=count: condition(self.twists[count:]), AGAIN_S
                ):
                    return
            self.fingers("touchEnd")
        raise AssertionError(f"{what}: {self.twists[-5:]}")

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

    def rests(self):
        """What was on its way comes, and then nothing more."""
        end, last = time.monotonic() + WAIT_S, -1
        while last != (last := self.count()):
            assert time.monotonic() < end, "must not move: nobody touches it"
            time.sleep(0.5)  # ten messages of a hand that holds something

    def close(self):
        try:
            self.page.close()
        finally:
            self.library.close()
            self.site.server.close()


def insist(page, act, words, line="#answer"):
    """Act until the page says words: over a link that stalls it sends nothing, and says so."""
    text = f"document.querySelector({line!r}).textContent"
    for _ in range(TRIES):
        page.run(f"document.querySelector({line!r}).replaceChildren()")
        act()
        page.until(f"{text}.includes({words!r}) || {text}.includes('No link')")
        if words in page.text(line):
            return
    raise AssertionError(page.text(line))


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
    parts.fingers("touchStart", FORWARD)
    time.sleep(0.3)
    parts.fingers("touchEnd")
    assert parts.count() == before, "must not move: nobody has taken over"

    parts.site.panel.tell(mode="teleoperated")
    page.says("A person is in control", "#drive-told")
    forward, both = [0.5, 0.0, 0.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0, 0.0, 0.0]
    w, r = FORWARD, UP

    def touch():
        parts.fingers("touchStart", w)

    def touch_twice():
        touch()
        parts.fingers("touchStart", w, r)

    def slide():
        touch()
        time.sleep(0.2)
        parts.fingers("touchMove", r)

    parts.gesture(touch, lambda sent: sent.count(forward) >= 3, "a finger drives forward")
    parts.fingers("touchEnd")
    parts.rests()
    assert parts.twists[-1] == STILL, "the end of it is told, too"
    parts.gesture(touch_twice, lambda sent: both in sent, "two fingers")
    parts.fingers("touchEnd")
    parts.rests()
    # A finger that slides off still holds what it has pressed, and lets it go when it leaves the glass.
    parts.gesture(slide, lambda sent: sent.count(forward) >= 8, "it slides")
    assert parts.twists[-1] in (forward, STILL)
    parts.fingers("touchCancel")
    parts.rests()
    # Who loses control of the robot does not keep the finger's motion for later.
    parts.gesture(touch, lambda sent: forward in sent, "it drives once more")
    parts.site.panel.tell(mode="paused")
    parts.rests()
    parts.site.panel.tell(mode="teleoperated")
    page.says("A person is in control", "#drive-told")
    parts.rests()
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
    insist(page, lambda: page.put("#adapter", "cups"), "the next chunk is by cups")
    page.says("cups", "#state")
    insist(page, lambda: page.put("#adapter", "lids"), "its base is another policy")
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
    stopped = {"level": "STOP", "engaged": False, "why": "an operator stopped the robot"}
    tell(**stopped, robots=[{**right, **stopped}, silent])
    page.says("STOP, not engaged: an operator stopped the robot", "#robots")
    scene = cv2.cvtColor(cv2.imread(str(SCENE)), cv2.COLOR_BGR2RGB)
    parts.site.panel.show("front", lambda: scene)
    page.until("document.querySelector('#big canvas')?.width === 320")
    page.picture("page_robots.png")
    told = page.run("all")
    assert any("NOT STOPPED: fr3 in /right: no answer in 1 s" in text for text in told), told
    assert parts.site.robot.stop.call_count >= 1, "its own robot is stopped in its own way too"
    page.click("#reset")
    page.until("document.querySelector('#answer-all').textContent === ''")


def test_what_is_under_way_is_not_said_to_have_failed(parts):
    goal = {
        "id": "7",
        "words": "pick it up",
        "outcome": "",
        "message": "following",
        "verdict": False,
    }
    parts.site.panel.tell(goals=[goal])
    parts.page.says("following; the simulation: not yet", "#said")
    parts.site.panel.tell(goals=[{**goal, "outcome": "timeout", "message": "12 s are over"}])
    parts.page.says("12 s are over; the simulation: not reached", "#said")


def test_a_folded_recorder_tells_that_it_records_and_how_much_the_disk_takes(parts):
    page = parts.page
    recorder = {
        "phase": "idle", "folder": "takes", "task": "", "episode": 2, "saved": 2, "missing": [],
        "elapsed_s": 0.0, "frames": 0, "invalid": 0, "lost": 0, "streams": [], "left_s": 5400,
        "keep": True, "verdict": [], "message": "",
    }  # fmt: skip
    parts.site.panel.tell(recorder=recorder)
    page.says("2 episodes in takes, room for 90 min", "#record-phase")
    shown = "document.querySelector('#record-box summary').innerText"
    assert page.run(shown) == "Recording"
    parts.site.panel.tell(recorder={**recorder, "phase": "recording", "elapsed_s": 4.2})
    page.until(f"{shown} === 'Recording: 4 s'")
    parts.site.panel.tell(recorder={**recorder, "phase": "deciding"})
    page.until(f"{shown} === 'Recording: keep it?'")
    parts.site.panel.tell(recorder=None)
    page.until(f"{shown} === 'Recording'")


def test_a_plan_that_nobody_follows_does_not_flatten_the_timeline(parts):
    page = parts.page
    parts.site.panel.tell(level="HOLD", ages={"chunk": 57.0}, acted={})
    page.says("The drawing is 3.0 s high", "#time-told")
    parts.site.panel.tell(level="PASS", ages={})


def test_an_episode_is_looked_at_apart_from_the_page_then_deleted_and_brought_back(parts):
    page, root = parts.page, recorded_set(parts.folder / "cups", (7, 5, 6))

    def lengths():
        return [entry.length for entry in open_set(root).entries]

    def press(selector):
        return lambda: page.click(selector)

    def look():
        for opened in ("false", "true"):
            page.run(f"document.querySelector('#library-box').open = {opened}")

    told = "#library-told"
    insist(page, look, "1 data set in", told)
    page.says("cups: 3 episodes", "#library")
    view = "#library button[aria-label='view episode 2 of cups']"
    insist(page, press(view), "episode 2 is ready", told)
    page.until("document.querySelector('#library a') !== null")
    seen = page.do(page.browser.open(page.run("document.querySelector('#library a').href")))
    page.do(seen.until("document.querySelector('#cameras') !== null", WAIT_S))
    assert page.do(seen.run("origin")) == "null", (
        "it has no origin, so it reaches nothing of the page"
    )
    delete = "#library button[aria-label='delete episode 1 of cups']"
    with lock_folder(root / layout.STAGING):  # as a recorder has it
        insist(page, press(delete), "records or changes this data set already", told)
    assert lengths() == [7, 5, 6]
    insist(page, press(delete), "episode 1 is deleted")
    page.says("cups: 2 episodes", "#library")
    assert lengths() == [7, 6]
    undo = "[...document.querySelectorAll('#library button')].find((b) => b.textContent.startsWith('Undo'))"
    page.run(f"{undo}.id = 'undo'")
    insist(page, press("#undo"), "brought back")
    page.says("cups: 3 episodes", "#library")
    assert lengths() == [7, 5, 6]
    assert page.tab.complaints == []
