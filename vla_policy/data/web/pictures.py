"""The pictures of objects in each drawing style, and the folder that stores them with their names.

concepts.json    names, category and role of every object
pictures.npz     noto, twitter, fluent: uint8[n, 64, 64, 4] RGBA; has: bool[3, n]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vla_policy.data.web.concepts import HELD_OUT_STYLE, TRAINED_STYLES, Concept

SIDE_PX = 64
STYLES = (*TRAINED_STYLES, HELD_OUT_STYLE)
_FONT_PX = 109  # the only size of the font's bitmaps


@dataclass(frozen=True, slots=True)
class WebPictures:
    """pictures: by style, uint8[n, 64, 64, 4] RGBA in the order of concepts."""

    concepts: tuple[Concept, ...]
    pictures: Mapping[str, np.ndarray]

    def on_card(self, index: int, style: str, paper: tuple[int, int, int]) -> np.ndarray:
        """uint8[64, 64, 3]: the picture on paper of this colour."""
        rgba = self.pictures[style][index].astype(np.float32)
        share = rgba[..., 3:] / 255.0
        card: np.ndarray = np.round(rgba[..., :3] * share + np.array(paper) * (1 - share))
        return card.astype(np.uint8)


def draw_font(font: Path, concepts: list[Concept]) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of the concepts by a colour font: uint8[n, 64, 64, 4], and bool[n] which exist."""
    face = ImageFont.truetype(str(font), _FONT_PX)
    drawn, has = [], []
    for concept in concepts:
        canvas = Image.new("RGBA", (144, 136), (255, 255, 255, 0))
        ImageDraw.Draw(canvas).text(
            (4, 4), _characters(concept.key), font=face, embedded_color=True
        )
        box = canvas.getbbox()
        has.append(box is not None and box[2] - box[0] > 20)
        drawn.append(_square(canvas.crop(box) if box else canvas))
    return np.stack(drawn), np.array(has)


def read_files(
    folder: Path, suffix: str, concepts: list[Concept]
) -> tuple[np.ndarray, np.ndarray]:
    """The same from files named by code points."""
    drawn, has = [], []
    for concept in concepts:
        key = concept.key.lower()
        names = (f"{key}{suffix}", f"{key}-fe0f{suffix}")
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        has.append(path is not None)
        if path is None:
            drawn.append(np.zeros((SIDE_PX, SIDE_PX, 4), np.uint8))
            continue
        with Image.open(path) as image:
            rgba = image.convert("RGBA")
        drawn.append(_square(rgba.crop(rgba.getbbox())))
    return np.stack(drawn), np.array(has)


def save(web: WebPictures, folder: Path) -> None:
    """Write concepts.json and pictures.npy."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = [asdict(concept) for concept in web.concepts]
    (folder / "concepts.json").write_text(json.dumps(listed, ensure_ascii=False, indent=0))
    np.save(folder / "pictures.npy", np.stack([web.pictures[style] for style in STYLES]))


def load(folder: Path) -> WebPictures:
    """Inverse of save. Raises OSError with the command that creates the folder."""
    if not (folder / "pictures.npy").is_file():
        raise OSError(
            f"{folder}: no named pictures there; `vla data web --out {folder}` makes them"
        )
    listed = json.loads((folder / "concepts.json").read_text())
    concepts = tuple(Concept(**one | {"tags": tuple(one.get("tags", ()))}) for one in listed)
    drawn = np.load(folder / "pictures.npy")
    return WebPictures(concepts, dict(zip(STYLES, drawn, strict=True)))


def _characters(key: str) -> str:
    return "".join(chr(int(part, 16)) for part in key.split("-"))


def _square(image: Image.Image) -> np.ndarray:
    """uint8[64, 64, 4]: image centred, as large as fits."""
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (SIDE_PX, SIDE_PX), (255, 255, 255, 0))
    square.paste(image, ((SIDE_PX - image.width) // 2, (SIDE_PX - image.height) // 2))
    return np.asarray(square)
