"""Downloads the packages with pictures and names, by the ordinary clients of npm and Debian."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

# Packages, their sources, and their licences. None of them is in this repository.
NPM = {
    "emojibase-data@17.0.0": "names and tags, MIT",
    "emoji-datasource-twitter@16.0.0": "pictures of Twemoji, CC BY 4.0 (data: MIT)",
    "@lobehub/fluent-emoji-3d@1.1.0": "pictures of Fluent Emoji, MIT",
}
FONT_PACKAGE = "fonts-noto-color-emoji"  # SIL Open Font License 1.1
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
# Fonts in which digits are learned.
DIGIT_FONTS = {
    "fonts-dejavu-core": "Bitstream Vera licence and public domain",
    "fonts-liberation": "SIL Open Font License 1.1",
    "fonts-lato": "SIL Open Font License 1.1",
    "fonts-quicksand": "SIL Open Font License 1.1",
    "fonts-comic-neue": "SIL Open Font License 1.1",
    "fonts-open-sans": "Apache License 2.0",
}


def npm_package(name: str, folder: Path) -> Path:
    """The unpacked npm package of this name and version, cached in folder.

    Raises OSError if npm is not installed or the download fails.
    """
    place = folder / name.split("@")[-2].replace("/", "-")
    if not place.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        said = _run(["npm", "pack", "--silent", name], folder)
        archive = folder / said.split()[-1]
        unpacked = place.with_suffix(".part")
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        archive.unlink()
        unpacked.rename(place)
    return place / "package"


def emoji_font(folder: Path) -> Path:
    """The font file: the installed one, or that of the Debian package, cached in folder."""
    if FONT.is_file():
        return FONT
    return debian_package(FONT_PACKAGE, folder) / FONT.relative_to("/")


def digit_fonts(folder: Path, packages: Iterable[str] = DIGIT_FONTS) -> list[Path]:
    """The font files of Debian packages, cached in folder, by name."""
    found = [path for one in packages for path in debian_package(one, folder).rglob("*.[ot]tf")]
    return sorted(found, key=lambda path: path.name)


def debian_package(name: str, folder: Path) -> Path:
    """The unpacked Debian package, cached in folder. Raises OSError as npm_package."""
    place = folder / name
    if not place.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "download", name], folder)
        archive = next(folder.glob(f"{name}_*.deb"))
        _run(["dpkg-deb", "-x", archive.name, name], folder)
        archive.unlink()
    return place


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise OSError(f"{command[0]!r} is not installed; it brings {command[-1]}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise OSError(f"{' '.join(command)}: {last}")
    return done.stdout
