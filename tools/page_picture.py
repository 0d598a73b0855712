"""A picture of an HTML file as Chromium shows it.

vla data view SET --out out/view.html
python tools/page_picture.py out/view.html docs/images/data_view.png --frame 12
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "test" / "helpers"))
from chromium import MISSING, PROGRAM, Chromium

WAIT_S = 60.0


async def photograph(page: Path, out: Path, frame: int, scheme: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Chromium(Path(folder)) as browser:
            tab = await browser.open("about:blank")
            await tab.size(1280, 900)
            await tab.scheme(scheme)
            await tab.call("Page.navigate", url=page.resolve().as_uri())
            await tab.until("window.view && view.episode", WAIT_S)
            await tab.run(f"go({frame})")
            await tab.picture(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frame", type=int, default=0)
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    args = parser.parse_args()
    if PROGRAM is None:
        print(MISSING, file=sys.stderr)
        return 1
    asyncio.run(photograph(args.page, args.out, args.frame, args.scheme))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
