"""Sources already converted into the set, so that a second run continues the first."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vla_policy.data.lerobot import layout
from vla_policy.data.lerobot.durable import replace_json
from vla_policy.data.lerobot.files import read_json

FILE = f"{layout.OWN}/conversion.json"


@dataclass
class ConversionJournal:
    """sources: in the order of their episodes, with the number of each.

    A source is noted before its episode is saved: it counts only if the set has that episode.
    """

    root: Path
    sources: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path, episodes: int) -> ConversionJournal:
        """The journal of the set below root, which has so many episodes."""
        path = root / FILE
        said = read_json(path).get("sources", {}) if path.exists() else {}
        return cls(root, {name: number for name, number in said.items() if number < episodes})

    def has(self, source: str) -> bool:
        return source in self.sources

    def note(self, source: str, episode: int) -> None:
        """Note that source will become that episode."""
        self.sources[source] = episode
        replace_json(self.root / FILE, {"sources": self.sources})
