"""A picture of an HTML file as Chromium shows it.

vla data view SET --out out/view.html
python tools/page_picture.py out/view.html docs/images/data_view.png --frame 12
python tools/page_picture.py benchmarks/compare/report.html docs/images/compare.png --section Success
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "helpers"))
from chromium import MISSING, PROGRAM, Chromium, Tab

WAIT_S = 60.0


@asynccontextmanager
async def shown(page: Path, width: int, scheme: str) -> AsyncIterator[Tab]:
    """The file in a browser of its own, in a window that has its size and colours before it is loaded."""
    with tempfile.TemporaryDirectory() as folder:
        async with Chromium(Path(folder)) as browser:
            tab = await browser.open("about:blank")
            await tab.size(width, 900)
            await tab.scheme(scheme)
            await tab.call("Page.navigate", url=page.resolve().as_uri())
            yield tab


async def photograph(page: Path, out: Path, frame: int, scheme: str) -> None:
    """An episode of `vla data view` at a frame."""
    async with shown(page, 1280, scheme) as tab:
        await tab.until("window.view && view.episode", WAIT_S)
        await tab.run(f"go({frame})")
        await tab.picture(out)


# Of a report of `vla compare`: one section without its tables, films in their middle.
SECTION = """
[...document.querySelectorAll("[role=region]")].forEach((table) => table.remove());
window.section = [...document.querySelectorAll("section")].find((s) => s.querySelector("h2").textContent === NAME);
window.films = [...section.querySelectorAll("video")];
films.forEach((film) => { film.controls = false; film.preload = "auto"; film.load(); });
"""
STANDS = """films.every((film) => {
  if (film.readyState < 2 || film.seeking) return false;
  if (film.currentTime) return true;
  film.currentTime = film.duration / 2;
  return false;
})"""
PLACE = "(() => { const b = section.getBoundingClientRect(); return [b.x + scrollX, b.y + scrollY, b.width, b.height]; })()"


async def photograph_section(page: Path, out: Path, name: str, scheme: str) -> None:
    """A part of a report of `vla compare`, by its heading, with a margin."""
    async with shown(page, 944, scheme) as tab:
        there = "document.readyState === 'complete' && document.querySelector('section') !== null"
        await tab.until(there, WAIT_S)
        await tab.run(SECTION.replace("NAME", json.dumps(name)))
        await tab.until(STANDS, WAIT_S)
        x, y, width, height = await tab.run(PLACE)
        await tab.picture(out, (x - 12, y - 8, width + 24, height + 16))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frame", type=int, default=0)
    parser.add_argument("--section", help="heading of a part of a report of `vla compare`")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    args = parser.parse_args()
    if PROGRAM is None:
        print(MISSING, file=sys.stderr)
        return 1
    if args.section:
        asyncio.run(photograph_section(args.page, args.out, args.section, args.scheme))
    else:
        asyncio.run(photograph(args.page, args.out, args.frame, args.scheme))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
