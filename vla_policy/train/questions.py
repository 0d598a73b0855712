"""Questions about images, captions and points, one JSON object per line, to retain these skills.

    {"image": "cat.jpg", "question": "What is on the table?", "answer": "a cat"}
    {"images": ["left.png", "right.png"], "question": "...", "answer": "..."}
    {"image": "cat.jpg", "caption": "a cat on a table"}
    {"image": "cat.jpg", "point_at": "the cat's ear", "point": [0.31, 0.72]}

Images lie beside the file. A point is (x, y) from the upper left corner, 0 to 1 of width and
height; several are `points`. The answer has PaliGemma's form: <locYYYY><locXXXX> with 1024 steps
a side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vla_policy.families.training import Question
from vla_policy.parsing.files import MIB, one_line, read_bytes
from vla_policy.parsing.strict_json import parse_json
from vla_policy.types import Array, readonly

LINES = 512 * MIB
STEPS = 1024  # of PaliGemma's locations
CAPTION = "Describe the image."
KINDS = (("question", "answer"), ("caption",), ("point_at", "point"), ("point_at", "points"))


@dataclass(frozen=True, slots=True)
class PointingQuestion:
    """A question for positions in the first image. points: float64[k, 2], x and y from 0 to 1.

    Converted to a Question only after image changes, which move the points too.
    """

    images: tuple[Array, ...]
    text: str
    points: Array
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", readonly(self.points))
        if self.points.ndim != 2 or self.points.shape[1] != 2 or not len(self.points):
            raise ValueError(f"points: got shape {self.points.shape}, expected (k, 2), k >= 1")
        if not ((self.points >= 0.0) & (self.points <= 1.0)).all():
            raise ValueError(f"points: got {self.points.tolist()}, expected 0 to 1")

    def question(self) -> Question:
        """The same with its answer as text."""
        steps = np.clip(np.floor(self.points * STEPS).astype(int), 0, STEPS - 1)
        answer = " ; ".join(f"<loc{y:04d}><loc{x:04d}>" for x, y in steps)
        return Question(self.images, self.text, answer, self.source)


class Questions:
    """The lines of one file; images are read on demand. Pickles into workers.

    Raises FileNotFoundError, or ValueError naming a line of none of the four kinds or a missing
    image.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.label = path, path.stem
        self._rows: list[tuple[int, dict[str, Any]]] = []
        for number, line in enumerate(read_bytes(path, LINES).split(b"\n"), 1):
            if line.strip():
                self._rows.append(
                    (number, _checked(parse_json(line, f"{path}:{number}"), path, number))
                )
        if not self._rows:
            raise ValueError(f"{path}: got no line, expected at least one")

    def __len__(self) -> int:
        return len(self._rows)

    def where(self, index: int) -> str:
        """'file, line 3'."""
        return f"{self.path.name}, line {self._rows[index][0]}"

    def sample(
        self, index: int, rng: np.random.Generator | None = None
    ) -> Question | PointingQuestion:
        """One question; rng is unused. Raises ValueError naming the image that cannot be read."""
        number, row = self._rows[index]
        images = tuple(
            _image(self.path.parent / name, self.path, number) for name in row["images"]
        )
        if "points" in row:
            text = f"Point to {row['point_at']}."
            return PointingQuestion(images, text, np.array(row["points"]), self.label)
        return Question(images, row.get("question", CAPTION), row["answer"], self.label)


def _checked(row: Any, path: Path, number: int) -> dict[str, Any]:
    """images: list of names; question and answer, or point_at and points."""
    where = f"{path}:{number}"
    if not isinstance(row, Mapping) or ("image" in row) == ("images" in row):
        raise ValueError(f"{where}: got no or two of image and images, expected one of them")
    names = [row["image"]] if "image" in row else row["images"]
    if not isinstance(names, list) or not names or not all(map(_is_text, names)):
        raise ValueError(
            f"{where}: images: got {one_line(repr(names), 80)}, expected names of files"
        )
    rest = {k: v for k, v in row.items() if k not in ("image", "images")}
    if not any(set(rest) == set(kind) for kind in KINDS):
        ways = "; ".join(" and ".join(kind) for kind in KINDS)
        raise ValueError(f"{where}: got {', '.join(rest) or 'nothing'} beside it, expected {ways}")
    for key in ("question", "answer", "caption", "point_at"):
        if key in rest and not _is_text(rest[key]):
            raise ValueError(f"{where}: {key}: got {one_line(repr(rest[key]), 80)}, expected text")
    for name in names:
        if not _inside(path.parent, name):
            raise ValueError(f"{where}: image {name!r}: no such file beside {path.name}")
    found: dict[str, Any] = {"images": names}
    if "point_at" in rest:
        points = [rest["point"]] if "point" in rest else rest["points"]
        return found | {"point_at": rest["point_at"], "points": _points(points, where)}
    if "caption" in rest:
        return found | {"answer": rest["caption"]}
    return found | rest


def _points(points: Any, where: str) -> list[list[float]]:
    good = isinstance(points, list) and points and all(_is_point(p) for p in points)
    if not good:
        raise ValueError(
            f"{where}: points: got {one_line(repr(points), 80)}, expected [x, y] from 0 to 1, at least one"
        )
    return [[float(x), float(y)] for x, y in points]


def _is_point(point: Any) -> bool:
    numbers = isinstance(point, list) and len(point) == 2
    return numbers and all(type(v) in (int, float) and 0 <= v <= 1 for v in point)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _inside(folder: Path, name: str) -> bool:
    path = (folder / name).resolve()
    return folder.resolve() in path.parents and path.is_file()


def _image(path: Path, listed: Path, number: int) -> Array:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{listed}:{number}: {path.name}: not a readable image")
    return np.ascontiguousarray(image[..., ::-1])
