"""The token in a real Chromium: asked for by a form or taken from the address, kept for one tab, and in no cookie."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import axe
import pytest
from chromium import MISSING, PROGRAM, Chromium, Tab
from web_site import TOKEN, Site

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason=MISSING)]
WAIT_S = 60.0
ASKS = "document.querySelector('#token-form')?.hidden === false && document.querySelector('#link').textContent"
OPEN = (
    "document.querySelector('#token-form')?.hidden && !document.querySelector('#link').textContent"
)
ENGAGED = f"{OPEN} && document.querySelector('#state').textContent.includes('not engaged')"
KEPT = (
    "[sessionStorage.getItem('key'), document.cookie, JSON.stringify(localStorage), location.href]"
)


def browsing(folder: Path, test: Callable[[Chromium], Awaitable[None]]) -> None:
    async def run() -> None:
        # The certificate is signed by nobody whom a browser knows.
        async with Chromium(folder, "--ignore-certificate-errors") as browser:
            await test(browser)

    asyncio.run(asyncio.wait_for(run(), 240.0))


async def give(tab: Tab, words: str) -> None:
    await tab.click("#token")
    await tab.type(words)


def test_the_token_is_asked_for_and_kept_for_one_tab(tmp_path, safe_site: Site):
    safe_site.panel.tell(engaged=False, level="HOLD", why="no operator has engaged the robot")
    address = safe_site.url + "/"

    async def test(browser: Chromium) -> None:
        tab = await browser.open(address)
        assert "asks for the robot's token" in await tab.until(ASKS, WAIT_S)
        assert await tab.run("location.protocol") == "https:"
        if axe.script() is not None:
            assert await axe.violations(tab) == []
        await tab.click("#engage")
        await tab.until("document.querySelector('#answer.bad') !== null", WAIT_S)
        await give(tab, "wrong")
        await tab.until(f"({ASKS}).includes('not the robot')", WAIT_S)
        assert (await tab.run(KEPT))[0] is None, "what is refused is not kept"
        assert safe_site.robot.mock_calls == []
        await give(tab, f" {TOKEN} ")
        await tab.until(ENGAGED, WAIT_S)
        await tab.click("#stop")
        await tab.until(
            "document.querySelector('#answer').textContent.includes('confirmed')", WAIT_S
        )
        assert await tab.run(KEPT) == [TOKEN, "", "{}", address]
        # The same tab keeps it, another one asks.
        await tab.call("Page.reload")
        await tab.until(ENGAGED, WAIT_S)
        other = await browser.open(address)
        await other.until(ASKS, WAIT_S)
        # It is taken from the address once, also by a page that is open, and does not stay there.
        await other.run(f"location.hash = {json.dumps(TOKEN)}")
        await other.until(ENGAGED, WAIT_S)
        third = await browser.open(f"{address}#{TOKEN}")
        await third.until(ENGAGED, WAIT_S)
        for one in (other, third):
            assert await one.run(KEPT) == [TOKEN, "", "{}", address]
        for one in (tab, other, third):
            assert one.complaints == []

    browsing(tmp_path, test)
