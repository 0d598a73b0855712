"""Episodes as a recording for Rerun (https://rerun.io), if its package is installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vla_policy.data.checks.finding import DataFinding
from vla_policy.data.lerobot.reader import DataSet
from vla_policy.data.view.embedded_images import to_jpeg
from vla_policy.data.view.episode_document import episode_document

WIDTH_PX, QUALITY = 1280, 85


def write_recording(
    out: Path, data: DataSet, episodes: Sequence[int], findings: Sequence[DataFinding]
) -> None:
    """One recording; the episodes follow each other on its timeline "frame".

    Raises ValueError without Rerun.
    """
    try:
        rerun: Any = importlib.import_module("rerun")
    except ImportError as error:
        raise ValueError(
            "--rerun needs Rerun's package, which is not installed: pip install rerun-sdk"
        ) from error
    stream = rerun.RecordingStream("vla_policy", recording_id=data.root.name)
    stream.save(str(out))
    start = 0
    for episode in episodes:
        document = episode_document(data, episode, findings)
        for number in range(document["length"]):
            stream.set_time("frame", sequence=start + number)
            _frame(rerun, stream, data, document, number)
        start += document["length"]
    stream.flush()


def _frame(rerun: Any, stream: Any, data: DataSet, document: dict[str, Any], number: int) -> None:
    episode = document["episode"]
    if number == 0:
        stream.log("task", rerun.TextLog(f"episode {episode}: {document['task']}"))
    for camera in data.cameras:
        try:
            image = data.image(episode, number, camera)
        except (ValueError, FileNotFoundError) as error:
            stream.log("problems", rerun.TextLog(str(error), level="ERROR"))
            continue
        jpeg = to_jpeg(image, WIDTH_PX, QUALITY)
        stream.log(f"cameras/{camera}", rerun.EncodedImage(contents=jpeg, media_type="image/jpeg"))
    for plot in document["plots"]:
        for line in ("state", "action", "proposed"):
            value = plot[line][number] if line in plot else None
            if value is not None:
                stream.log(f"columns/{plot['name']}/{line}", rerun.Scalars(value))
    for finding in document["findings"]:
        if (finding["frame"] or 0) == number:
            level = "ERROR" if finding["level"] == "error" else "WARN"
            stream.log("check", rerun.TextLog(finding["says"], level=level))
