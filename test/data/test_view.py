"""One HTML file shows an episode: what is in it, and what a real browser makes of it.

The browser's tests run wherever Chromium is installed and say the line that installs it elsewhere.
"""

import asyncio
import base64
import json
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from chromium import MISSING, PROGRAM, Chromium
from clean_sets import clean_set, image
from data_faults import video_file

from vla_policy.cli import main
from vla_policy.data.frame import CONTROL_SOURCES
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.view.embedded_images import SIZES, choose_size
from vla_policy.data.view.episode_document import flags, plots

BLOCK = re.compile(r'<script type="application/json" id="([^"]+)">(.*?)</script>', re.S)
# No other address is in a file but the name of the standard of a drawing, which nobody fetches.
ADDRESS = re.compile(r"(?:https?:|wss?:)?//[a-z0-9.-]+\.[a-z]{2,}", re.I)
TASK = "lift </script><b>the</b> cup & <!-- data -->"


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> Path:
    """A set in which something of everything is to be seen: a person helps, frames are invalid, a camera freezes."""
    root = tmp_path_factory.mktemp("view") / "set"

    def change(episode, number):
        helped = episode == 0 and 8 <= number < 14
        own = {c: image(episode, number, c) for c in ("front", "wrist")}
        if episode == 0 and 15 <= number < 21:
            own["wrist"] = image(episode, 14, "wrist")
        return {
            "images": own,
            "control_source": "teleop" if helped else "policy",
            "intervention": helped,
            "valid": number != 3,
        }

    return clean_set(root, (24, 20, 20), tasks=("push", TASK), change=change)


@pytest.fixture(scope="module")
def page(shown) -> Path:
    out = shown.parent / "view.html"
    assert main(["data", "view", str(shown), "--episodes", "0-1", "--out", str(out)]) == 0
    return out


def blocks(page: Path) -> dict:
    return {name: json.loads(text) for name, text in BLOCK.findall(page.read_text())}


def test_all_of_an_episode_is_in_the_file(page, shown):
    found = blocks(page)
    assert found["set"]["episodes"] == [0, 1] and found["set"]["cameras"] == ["front", "wrist"]
    episode = found["episode-0"]
    state = open_set(shown).rows(0)["observation.state"]
    plot = next(p for p in episode["plots"] if p["name"] == "gripper")
    assert set(plot) == {"name", "state", "action", "proposed"}
    assert np.allclose(plot["state"], state[:, 7], rtol=1e-4)
    assert episode["flags"]["control_source"][7:15] == ["policy", *["teleop"] * 6, "policy"]
    assert episode["flags"]["frame_valid"][2:5] == [1, 0, 1]
    assert set(episode["ages"]) == {"front", "wrist", "joints"}
    assert {(f["code"], f["frame"]) for f in episode["findings"]} == {("frozen", 15), ("invalid_frames", 3)}  # fmt: skip
    assert found["episode-1"]["task"] == TASK
    picture = base64.b64decode(found["images-0-0"][7])
    seen = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(seen.astype(int) - open_set(shown).image(0, 7, "front")).mean() < 4


def test_no_address_is_in_the_file(page):
    assert ADDRESS.findall(re.sub(r'"[A-Za-z0-9+/=]{200,}"', "", page.read_text())) == []


def test_images_stay_below_the_limit(shown, tmp_path):
    data = open_set(shown)
    large = choose_size(data, [0, 1], 64)
    assert (large.width_px, large.quality, large.every) == (*SIZES[0], 1)
    small = choose_size(data, [0, 1], 0.03)
    assert (small.width_px, small.quality) == SIZES[-1] and small.every > 1
    with pytest.raises(ValueError, match="show fewer episodes"):
        choose_size(data, [0, 1], 0.001)
    out = tmp_path / "small.html"
    words = ["--episodes", "0:2", "--out", str(out), "--megabytes", "0.03"]
    assert main(["data", "view", str(shown), *words]) == 0
    images = sum(len(t) for k, v in blocks(out).items() if k.startswith("images") for t in v)
    assert images <= 1.1 * 0.03 * 2**20


def test_what_cannot_be_read_is_said_and_the_rest_is_shown(shown, tmp_path):
    root = shutil.copytree(shown, tmp_path / "set")
    video_file(root, 0, "front").write_bytes(b"nothing")
    out = tmp_path / "view.html"
    assert main(["data", "view", str(root), "--episodes", "0", "--out", str(out)]) == 0
    found = blocks(out)
    assert set(found["images-0-0"]) == {""} and all(found["images-0-1"])
    assert "unreadable" in {f["code"] for f in found["episode-0"]["findings"]}


def test_numbers_that_are_not_finite_are_gaps():
    (plot,) = plots(
        {"action": np.array([[1.23456789], [np.nan]])}, {"state": (), "action": ("x",)}
    )
    assert plot == {"name": "x", "action": [1.2346, None]}


def test_a_code_of_control_that_nobody_knows_is_another_source():
    assert flags({"control_source": np.array([0, 2, 9])}, CONTROL_SOURCES) == {
        "control_source": ["", "teleop", "other"]
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--episodes", "0-7"], "expected some of 0:3"),
        (["--rerun", "x.rrd"], "pip install rerun-sdk"),
        (["--megabytes", "0.0001"], "show fewer episodes"),
    ],
)
def test_what_is_not_possible_is_one_sentence(shown, tmp_path, capsys, monkeypatch, words, said):
    monkeypatch.setitem(sys.modules, "rerun", None)  # as where it is not installed
    out = ["--out", str(tmp_path / "x.html"), "--no-check"]
    assert main(["data", "view", str(shown), *out, *words]) != 0
    line = capsys.readouterr().err.strip()
    assert said in line and "\n" not in line
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(find_spec("rerun") is None, reason="needs Rerun: pip install rerun-sdk")
def test_a_recording_for_rerun(shown, tmp_path):
    out = tmp_path / "set.rrd"
    assert main(["data", "view", str(shown), "--episodes", "0", "--rerun", str(out)]) == 0
    assert out.read_bytes()[:3] == b"RRF"
    assert not (Path.cwd() / "view.html").exists()


PIXELS = """
(c) => { const canvas = document.querySelectorAll("figure canvas")[c];
  return [canvas.width, canvas.height, [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]]; }
"""


async def look(page: Path, folder: Path, use):
    """Open the file in a browser; use(tab) looks at it. Returns what the console and the network said."""
    async with Chromium(folder) as browser:
        tab = await browser.open("about:blank")
        await tab.size(1280, 800)
        record = "window.said = []; addEventListener('error', (e) => said.push(e.message || e.target.src), true);"
        record += "addEventListener('securitypolicyviolation', (e) => said.push(e.blockedURI));"
        record += "addEventListener('unhandledrejection', (e) => said.push(String(e.reason)));"
        record += "console.error = console.warn = (...words) => said.push(words.join(' '));"
        await tab.call("Page.addScriptToEvaluateOnNewDocument", source=record)
        await tab.call("Page.navigate", url=page.as_uri())
        await tab.until("window.view && view.episode && document.readyState === 'complete'", 60)
        await tab.run("view.drawn")
        await use(tab)
        fetched = await tab.run("performance.getEntriesByType('resource').map((e) => e.name)")
        return await tab.run("said"), [u for u in fetched if not u.startswith("data:")]


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_a_browser_shows_the_frame_of_the_scrubber(page, shown, tmp_path):
    data = open_set(shown)

    async def use(tab):
        async def shows(episode, number, camera):
            await tab.run("view.drawn")
            width, height, flat = await tab.run(f"({PIXELS})({camera})")
            seen = np.array(flat).reshape(height, width, 4)[..., :3]
            off = {
                k: np.abs(seen - data.image(episode, k, data.cameras[camera]).astype(int)).mean()
                for k in range(data.entries[episode].length)
            }
            assert min(off, key=off.get) == number, off
            assert off[number] < 4

        await shows(0, 0, 0)
        await tab.run(
            "(() => { const f = document.querySelector('#frame'); f.value = 11;"
            " f.dispatchEvent(new Event('input')); })()"
        )
        await shows(0, 11, 0)
        await shows(0, 11, 1)
        await tab.key("ArrowRight", 39)
        await shows(0, 12, 0)
        assert "frame 12 of 24" in await tab.run("document.querySelector('#now').textContent")
        await tab.key("End", 35)
        await shows(0, 23, 1)
        await tab.run("document.querySelector('#findings button').click()")
        assert await tab.run("view.frame") == 3
        await tab.key("ArrowDown", 40)
        await shows(1, 0, 0)
        assert await tab.run("document.querySelector('#task').textContent") == TASK
        await tab.key(" ", 32)
        await tab.until("view.frame === 19 && !view.playing", 20)
        await tab.scheme("dark")
        await tab.until("getComputedStyle(document.body).backgroundColor === 'rgb(14, 17, 22)'", 5)
        assert await tab.run("document.querySelectorAll('.plot').length") == 9

    assert asyncio.run(look(page, tmp_path, use)) == ([], [])
