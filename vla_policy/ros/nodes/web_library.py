"""Data sets on the operator's page: listed, viewed and edited by `vla data` processes.

These run one after another at the lowest priority, so that no control loop waits for a disk; the
page identifies sets by the names it received, never by a path.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vla_policy.ros.bringup.graph import executable_path
from vla_policy.web.documents import Documents
from vla_policy.web.panel import Answer, Deed, Panel

INFO = Path("meta/info.json")
MOST_SETS = 40
TELL_EPISODES = 200  # episodes listed of a set, the newest
LIST_S, VIEW_S, EDIT_S = 60.0, 120.0, 300.0
MEGABYTES = "24"  # size limit of a view
IDLE = ("nice", "-n", "19")


class Library:
    """Sets `library` of the panel: [{set, version, robot, episodes, undo}].

    folder: folder of the listed sets; empty: recorder()'s.
    """

    def __init__(
        self, panel: Panel, documents: Documents, folder: str, recorder: Callable[[], str]
    ) -> None:
        self._panel, self._documents = panel, documents
        self._named, self._recorder = folder, recorder
        self._sets: dict[str, Path] = {}
        self._views = tempfile.TemporaryDirectory(prefix="vla_policy-views-")
        self._count = 0
        self._work = ThreadPoolExecutor(1, "library")

    def close(self) -> None:
        """Start nothing more, and delete the views."""
        self._work.shutdown(wait=False, cancel_futures=True)
        self._views.cleanup()

    def deeds(self) -> dict[str, Deed]:
        """Requests for the page's server.

        None moves the robot; those that change files are still refused when late.
        """
        return {
            "library_list": Deed(self._soon(self.list), moves=False, limit_s=LIST_S),
            "library_view": Deed(self._soon(self.view), moves=False, limit_s=VIEW_S),
            "library_delete": Deed(self._soon(self.delete), limit_s=EDIT_S),
            "library_undo": Deed(self._soon(self.undo), limit_s=EDIT_S),
        }

    def list(self, details: Mapping[str, Any]) -> Answer:
        """Search for sets again."""
        folder = self._folder()
        if folder is None:
            return Answer(False, "no folder: record into one, or set the parameter library")
        self._sets = sets_in(folder)
        told, wrong = [], []
        for name, path in self._sets.items():
            done, text = _vla(LIST_S, "info", str(path), "--json")
            if not done:
                wrong.append(f"{name}: {text}")
                continue
            about = json.loads(text)
            about["of"] = len(about["episodes"])
            about["episodes"] = about["episodes"][-TELL_EPISODES:]
            undo = path.with_name(f"{path.name}.undo")
            told.append({"set": name, "undo": (undo / INFO).is_file(), **about})
        self._panel.tell(library=told)
        found = f"{len(told)} data set{'' if len(told) == 1 else 's'} in {folder}"
        return Answer(not wrong, "; ".join([found, *wrong]))

    def view(self, details: Mapping[str, Any]) -> Answer:
        """A page of one episode: all cameras on one time line, plots, flags.

        details: set, episode. about: its address.
        """
        path, episode = self._set(details), _episode(details)
        self._count += 1
        out = Path(self._views.name) / f"{self._count}.html"
        done, text = _vla(
            VIEW_S, "view", str(path), "--episodes", str(episode),
            "--out", str(out), "--megabytes", MEGABYTES, "--no-check",
        )  # fmt: skip
        if not done:
            return Answer(False, text)
        return Answer(True, f"episode {episode} is ready", self._documents.add(out))

    def delete(self, details: Mapping[str, Any]) -> Answer:
        """Delete an episode; the previous version of the set is kept until the next change.

        details: set, episode.
        """
        path, episode = self._free_set(details), _episode(details)
        done, text = _vla(EDIT_S, "edit", str(path), "--in-place", "--delete", str(episode))
        return self._after(done, f"episode {episode} is deleted" if done else text)

    def undo(self, details: Mapping[str, Any]) -> Answer:
        """Restore the set as it was before the last deletion. details: set."""
        done, text = _vla(EDIT_S, "edit", str(self._free_set(details)), "--undo")
        return self._after(done, "brought back" if done else text)

    def _after(self, done: bool, message: str) -> Answer:
        if done:
            self.list({})
        return Answer(done, message)

    def _soon(self, work: Callable[[Mapping[str, Any]], Answer]) -> Callable[..., Future[Answer]]:
        return lambda details: self._work.submit(work, details)

    def _folder(self) -> Path | None:
        folder = self._named or self._recorder()
        return Path(folder).expanduser().absolute() if folder else None

    def _set(self, details: Mapping[str, Any]) -> Path:
        name = details.get("set")
        if not isinstance(name, str) or name not in self._sets:
            raise ValueError(f"got the data set {str(name)[:60]!r}, expected one that is listed")
        return self._sets[name]

    def _free_set(self, details: Mapping[str, Any]) -> Path:
        """The set, unless the recorder of this graph has it open."""
        path, recorder = self._set(details), self._recorder()
        if recorder and path == Path(recorder).expanduser().absolute() / "set":
            raise ValueError(
                "the recorder has this data set open: delete its newest episode under Recording, "
                "another once the robot runs without the recorder"
            )
        return path


def sets_in(folder: Path) -> dict[str, Path]:
    """name -> folder of the sets in or one level below folder; `set` has its recording's name."""
    places = [folder, folder / "set"]
    if folder.is_dir():
        for below in sorted(p for p in folder.iterdir() if p.is_dir() and p.suffix != ".undo"):
            places += [below, below / "set"]
    found: dict[str, Path] = {}
    for place in places:
        if (place / INFO).is_file() and place not in found.values():
            name = place.parent.name if place.name == "set" else place.name
            found.setdefault(name, place)
    return dict(list(found.items())[:MOST_SETS])


def _episode(details: Mapping[str, Any]) -> int:
    episode = details.get("episode")
    if type(episode) is not int or episode < 0:
        raise ValueError(f"got the episode {str(episode)[:40]!r}, expected its number")
    return episode


def _vla(limit_s: float, *words: str) -> tuple[bool, str]:
    """(whether `vla data WORDS` succeeded, its output or the last line of its error)."""
    command = [*IDLE, sys.executable, str(executable_path("vla")), "data", *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, check=False, cwd="/"
        )
    except subprocess.TimeoutExpired:
        return False, f"vla data {words[0]} took more than {limit_s:g} s"
    if done.returncode:
        lines = (done.stderr.strip() or "it said nothing").splitlines()
        return False, lines[-1].removeprefix("vla data: ")
    return True, done.stdout.strip()
