"""The page in a real Chromium: stop with three windows and four cameras, a frozen server, what is shown and where.

Runs wherever Chromium is installed and says the line that installs it elsewhere; it is 300 MB, so the
set-up does not. test_web.py and its neighbours look at the same server without a browser.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from chromium import MISSING, PROGRAM, Chromium, Tab

from vla_policy.runtime import stop_words
from vla_policy.runtime.instruction import Stop, stop_of

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason=MISSING)]
STAND_IN = Path(__file__).parents[1] / "helpers" / "web_stand_in.py"
SIZES = {
    "desk": (1280, 720, False),
    "phone": (390, 844, True),
    "phone on its side": (844, 390, True),
    "small phone on its side": (667, 375, True),
}
WAIT_S = 60.0  # for what comes at some time; what must come soon is measured
# Since the click: every text and colour of the line that tells what became of a stop.
WATCH = """
window.seen = [];
addEventListener("click", () => { window.clicked = performance.now(); }, { capture: true });
new MutationObserver(() => {
  const line = document.querySelector("#answer");
  const paint = getComputedStyle(line);
  seen.push([performance.now() - window.clicked, line.textContent, paint.backgroundColor, paint.color]);
}).observe(document.querySelector("#answer"),
  { subtree: true, childList: true, attributes: true, characterData: true });
"""
RED = {"dark": "rgb(182, 35, 36)", "light": "rgb(179, 20, 28)"}


class Site:
    """A page's server in a process of its own, and what it was asked."""

    def __init__(self, url: str, process: subprocess.Popen[str], heard: Path) -> None:
        self.url, self.process, self._heard = url, process, heard

    def asked(self) -> list[str]:
        """Verbs and words so far."""
        lines = [json.loads(line) for line in self._heard.read_text().splitlines()]
        return [f"{line['heard']} {line['words']}".strip() for line in lines if "heard" in line]


@asynccontextmanager
async def site(folder: Path, delay_s: float = 0.0, silent: str = "") -> AsyncIterator[Site]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    heard = folder / "heard.jsonl"
    with heard.open("w") as out:
        command = [sys.executable, str(STAND_IN), str(port), str(delay_s), silent]
        process = subprocess.Popen(command, stdout=out, text=True)
    try:
        for _ in range(600):
            assert process.poll() is None
            if heard.read_text().count("\n"):
                break
            await asyncio.sleep(0.1)
        yield Site(f"http://127.0.0.1:{port}/", process, heard)
    finally:
        os.kill(process.pid, signal.SIGCONT)
        process.kill()
        process.wait()


async def opened(browser: Chromium, where: Site) -> Tab:
    """A page that shows pictures of all cameras."""
    tab = await browser.open(where.url)
    await tab.until("document.querySelectorAll('figcaption').length === 4", WAIT_S)
    rates = "[...document.querySelectorAll('figcaption')].every((c) => / Hz$/.test(c.textContent))"
    await tab.until(rates, WAIT_S)
    await tab.run(WATCH)
    return tab


def browsing(
    folder: Path,
    test: Callable[[Chromium, Site], Awaitable[None]],
    delay_s: float = 0.0,
    silent: str = "",
) -> None:
    async def run() -> None:
        async with site(folder, delay_s, silent) as where, Chromium(folder) as browser:
            await test(browser, where)

    asyncio.run(asyncio.wait_for(run(), 240.0))


CONFIRMED = "seen.find((entry) => entry[1].includes('confirmed'))"
ROWS = "[...document.querySelectorAll('#said li')].map((r) => r.textContent).join('|')"


def test_stop_is_confirmed_in_each_of_three_windows_with_four_cameras(tmp_path, record_property):
    async def test(browser: Chromium, where: Site) -> None:
        tabs = [await opened(browser, where) for _ in range(3)]
        for count, tab in enumerate(tabs):
            assert await tab.run("document.visibilityState") == "visible"
            await tab.click("#stop")
            after_ms, text, *_ = await tab.until(CONFIRMED, WAIT_S)
            record_property(f"stop_in_window_{count}_ms", round(after_ms))
            assert after_ms < 1000 and text.endswith("stopped until reset"), text
        assert where.asked().count("stop") >= 3
        # Every window is told what the stop did.
        for tab in tabs:
            await tab.until(
                "document.querySelector('#state').textContent.includes('STOP')", WAIT_S
            )

    browsing(tmp_path, test)


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_a_frozen_server_is_told_in_red_after_half_a_second_until_it_answers(
    tmp_path, scheme, record_property
):
    async def test(browser: Chromium, where: Site) -> None:
        tab = await opened(browser, where)
        await tab.scheme(scheme)
        os.kill(where.process.pid, signal.SIGSTOP)
        await tab.click("#stop")
        red = "seen.find((entry) => entry[1].includes('NO ANSWER'))"
        after_ms, text, ground, ink = await tab.until(red, WAIT_S)
        record_property("no_answer_told_after_ms", round(after_ms))
        assert 450 < after_ms < 1000, after_ms
        assert ground == RED[scheme] and ink == "rgb(255, 255, 255)"
        assert "use its own stop button" in text
        # What would move the robot is not even sent, and it is said where it was typed.
        await tab.until(
            "document.querySelector('#link').textContent.includes('NO ANSWER')", WAIT_S
        )
        await tab.click("#words")
        await tab.type("pick up the red cube")
        await tab.until(f"{ROWS}.includes('nothing was sent')", WAIT_S)
        await tab.until("document.querySelector('#state').textContent.includes('unknown')", WAIT_S)
        await tab.until(
            "[...document.querySelectorAll('figcaption')].every((c) => c.textContent.includes('NO PICTURE'))",
            WAIT_S,
        )
        assert not await tab.run(CONFIRMED)
        os.kill(where.process.pid, signal.SIGCONT)
        await tab.until(CONFIRMED, WAIT_S)
        await tab.until("!document.querySelector('#link').textContent", WAIT_S)
        assert {"stop"} == set(where.asked())

    browsing(tmp_path, test)


def test_a_stop_that_the_robot_does_not_confirm_stays_red(tmp_path):
    async def test(browser: Chromium, where: Site) -> None:
        tab = await opened(browser, where)
        await tab.click("#stop")
        _, text, ground, _ = await tab.until(
            "seen.find((entry) => entry[1].includes('NOT STOPPED'))", WAIT_S
        )
        assert "no answer in 1 s" in text and ground in RED.values()
        assert not await tab.run(CONFIRMED)
        assert where.asked().count("stop") >= 2, "it keeps trying"

    browsing(tmp_path, test, delay_s=30.0)


def test_keys_and_typed_words_stop_as_the_button_does(tmp_path):
    async def test(browser: Chromium, where: Site) -> None:
        tab = await opened(browser, where)
        for act in (
            lambda: tab.key("Escape", 27),
            lambda: tab.type("stop"),
            lambda: tab.type("STOP!!"),
            lambda: tab.type("please stop now"),
        ):
            await tab.run("document.querySelector('#words').focus(); seen.length = 0")
            await act()
            await tab.until(CONFIRMED, WAIT_S)
        assert set(where.asked()) == {"stop"}

    browsing(tmp_path, test)


def test_the_page_takes_for_a_stop_only_what_is_one(tmp_path):
    ours = [
        *("stop", "Stop!", "STOPP", "please stop", "stop the robot now", "Halt.", "freeze"),
        *("стой!", "arrête", "alto", "¡Alto!", "ok stop it", "emergency", "now do stop"),
        *("don't move", "please stand still", "HELP", "para ya"),
        *sorted(stop_words.LATCHING),
        *stop_words.LATCHING_PHRASES,
    ]
    others = ["pick up the red cube", "help me pick the cube", "put the cube on top", "go on", ""]

    async def test(browser: Chromium, where: Site) -> None:
        tab = await opened(browser, where)
        called = "import('/words.js').then((m) => %s.map(m.isStop))"
        found = await tab.run(called % json.dumps(ours))
        assert [words for words, stops in zip(ours, found, strict=True) if not stops] == []
        assert await tab.run(called % json.dumps(others)) == [False] * len(others)
        assert {stop_of(words) for words in ours} == {Stop.LATCH}
        assert {stop_of(words) for words in others} == {None}

    browsing(tmp_path, test)


def test_what_became_of_an_instruction_stands_where_it_was_typed(tmp_path):
    async def test(browser: Chromium, where: Site) -> None:
        tab, other = await opened(browser, where), await opened(browser, where)
        for words in ("fall over", "pick up the red cube"):
            await tab.click("#words")
            await tab.type(words)
        await tab.until(f"{ROWS}.split('|').length === 2", WAIT_S)
        await tab.until(
            f"{ROWS}.startsWith('pick up the red cubefollowing|fall overrefused')", WAIT_S
        )
        colours = await tab.run(
            "[...document.querySelectorAll('#said span')].map((s) => s.className).join(' ')"
        )
        assert colours == "warn bad"
        assert "refused" in await tab.run("document.querySelector('#heard').textContent")
        # Another page sees it too, and a stop there ends it here.
        await other.until(f"{ROWS}.startsWith('pick up the red cube')", WAIT_S)
        await other.click("#stop")
        await tab.until(f"{ROWS}.startsWith('pick up the red cubestopped: ')", WAIT_S)
        await tab.click("#engage")
        await tab.until(
            "document.querySelector('#answer.bad')?.textContent.includes('2.1 s old')", WAIT_S
        )

    browsing(tmp_path, test)


def test_a_robot_without_an_overview_has_no_empty_picture_and_a_silent_camera_says_so(tmp_path):
    async def test(browser: Chromium, where: Site) -> None:
        tab = await browser.open(where.url)
        captions = (
            "[...document.querySelectorAll('figcaption')].map((c) => c.textContent).join('|')"
        )
        await tab.until(
            f"/front, .*Hz.left, .*Hz.wrist: NO PICTURE has come/.test({captions})", WAIT_S
        )
        assert "overview" not in await tab.run(captions)
        large = await tab.run("document.querySelector('#big figcaption').textContent")
        assert large.startswith("front, ")

    browsing(tmp_path, test, silent="overview,wrist")


# Elements that an operator must reach: what is at their corners and in their middle is they themselves.
COVERED = """
["words", "say", "stop", "reset", "engage", "disengage"].filter((id) => {
  const element = document.getElementById(id), b = element.getBoundingClientRect();
  return [[.5, .5], [.1, .2], [.9, .2], [.1, .8], [.9, .8]].some(([x, y]) => {
    const top = document.elementFromPoint(b.x + x * b.width, b.y + y * b.height);
    return top !== element && !element.contains(top);
  });
}).join(" ")
"""
SIDEWAYS = "[document.documentElement, document.querySelector('main')].some((e) => e.scrollWidth > e.clientWidth)"
# The contrast of every text with what lies behind it.
FAINT = """
(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [.2126, .7152, .0722][k], 0);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parts(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3]) return c; } return [255, 255, 255]; };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(parts(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) found.push(e.textContent + " " + ((a + .05) / (b + .05)).toFixed(2));
  }
  return found;
})()
"""


def test_nothing_covers_what_is_typed_and_what_stops_and_all_can_be_read(tmp_path):
    async def test(browser: Chromium, where: Site) -> None:
        tab = await opened(browser, where)
        for words in ("fall over", "pick up the red cube", "a sentence " * 17):
            await tab.click("#words")
            await tab.type(words)
        await tab.click("#engage")
        await tab.until("document.querySelector('#answer.bad')?.textContent", WAIT_S)
        frozen = False
        for _ in range(2):
            for name, (width, height, phone) in SIZES.items():
                for scheme in ("dark", "light"):
                    await tab.scheme(scheme)
                    await tab.size(width, height, phone=phone)
                    at = f"{name} {scheme} {'frozen' if frozen else ''}"
                    assert await tab.run(COVERED) == "", at
                    assert not await tab.run(SIDEWAYS), at
                    assert await tab.run(FAINT) == [], at
            os.kill(where.process.pid, signal.SIGSTOP)
            frozen = True
            await tab.size(1280, 720)
            await tab.click("#stop")
            await tab.until("document.querySelector('#link').textContent", WAIT_S)
            await tab.until("document.querySelector('#answer.alarm')?.textContent", WAIT_S)

    browsing(tmp_path, test)


# Of an element: whether its middle is shown, and nothing lies over it.
SHOWN = """((selector) => {
  const place = document.querySelector(selector), b = place.getBoundingClientRect();
  const top = document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2);
  return top !== null && (place.contains(top) || place.parentElement.contains(top) && top.tagName === "CANVAS");
})"""


@pytest.mark.parametrize("size", SIZES)
def test_who_drives_has_a_camera_and_the_buttons_in_sight(tmp_path, size):
    async def test(browser: Chromium, where: Site) -> None:
        tab = await opened(browser, where)
        width, height, phone = SIZES[size]
        await tab.size(width, height, phone=phone)
        await tab.run("document.querySelector('#drive-box').open = true")
        for button in ("#take-over", "#drive-pad [data-key=a]", "#drive-pad [data-key='[']"):
            await tab.run(f"document.querySelector({button!r}).scrollIntoView({{block: 'end'}})")
            await tab.until(
                "new Promise((then) => requestAnimationFrame(() => then(true)))", WAIT_S
            )
            assert await tab.run("document.querySelector('main').scrollTop") > 200, (
                "or nothing is shown"
            )
            for what in (button, "#big canvas", "#stop"):
                assert await tab.run(f"{SHOWN}({json.dumps(what)})"), (button, what)

    browsing(tmp_path, test)
