"""One self-contained HTML file: images, numbers, verdict; it opens without a network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from vla_policy.data.checks.finding import DataFinding
from vla_policy.data.lerobot.reader import DataSet
from vla_policy.data.view.embedded_images import ImageSize, to_jpeg
from vla_policy.data.view.episode_document import episode_document

FOLDER = Path(__file__).parent


def write_page(
    out: Path,
    data: DataSet,
    episodes: Sequence[int],
    size: ImageSize,
    findings: Sequence[DataFinding] | None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write it under a temporary name, then rename it; one episode at a time in memory.

    findings: of `vla data check`; None: not checked. Raises OSError.
    """
    partial = out.with_name(f"{out.name}.partial")
    head, tail = _template().split("<!-- data -->")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(head.replace("<!-- title -->", html.escape(data.root.name)))
        _write_json(file, "set", _set_document(data, episodes, size, findings))
        for done, episode in enumerate(episodes):
            tell(done, len(episodes))
            _write_json(
                file, f"episode-{episode}", episode_document(data, episode, findings or ())
            )
            for camera in data.cameras:
                file.write(f'<script type="application/json" id="{_key(data, episode, camera)}">[')
                for place, text in enumerate(_images(data, episode, camera, size)):
                    file.write((",\n" if place else "") + json.dumps(text))
                file.write("]</script>\n")
        file.write(tail)
    partial.replace(out)


def _template() -> str:
    page = (FOLDER / "page.html").read_text(encoding="utf-8")
    page = page.replace("/* style */", (FOLDER / "page.css").read_text(encoding="utf-8"))
    scripts = [(FOLDER / name).read_text(encoding="utf-8") for name in ("plots.js", "page.js")]
    return page.replace("/* script */", "\n".join(scripts))


def _set_document(
    data: DataSet, episodes: Sequence[int], size: ImageSize, findings: Sequence[DataFinding] | None
) -> dict[str, Any]:
    return {
        "name": data.root.name,
        "version": data.version,
        "robot": data.robot_type,
        "fps": data.fps,
        "cameras": list(data.cameras),
        "episodes": list(episodes),
        "of": len(data.entries),
        "every": size.every,
        "width": size.width_px,
        "checked": findings is not None,
        "findings": [f.document() for f in findings or () if f.episode is None],
    }


def _key(data: DataSet, episode: int, camera: str) -> str:
    return f"images-{episode}-{data.cameras.index(camera)}"


def _images(data: DataSet, episode: int, camera: str, size: ImageSize) -> Iterator[str]:
    """Base64 of each JPEG; '' for an image that cannot be read."""
    for number in range(0, data.entries[episode].length, size.every):
        try:
            image = data.image(episode, number, camera)
        except (ValueError, FileNotFoundError):
            yield ""
            continue
        yield base64.b64encode(to_jpeg(image, size.width_px, size.quality)).decode()


def _write_json(file: TextIO, name: str, document: Any) -> None:
    """A block that no text in it can end."""
    text = json.dumps(document, allow_nan=False).replace("<", "\\u003c")
    file.write(f'<script type="application/json" id="{name}">{text}</script>\n')
