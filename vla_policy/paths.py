"""Location of the package's own data: beside the source, in the wheel, or an ament prefix."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

PACKAGE = "vla_policy"


def config_dir() -> Path:
    """The folder with embodiments/ and policies/, in a source, pip or ament layout.

    Raises FileNotFoundError naming every place searched.
    """
    return _shared("config", "embodiments").parent


def definition_file(type_name: str) -> Path | None:
    """The .msg file of a type ('std_msgs/msg/String') of this or an installed package, or None."""
    package, _, name = type_name.split("/")
    try:
        if package == PACKAGE:
            return _shared("msg", f"{name}.msg")
        return _installed(Path("share", package, "msg", f"{name}.msg"))
    except FileNotFoundError:
        return None


def package_version() -> str:
    """The version in package.xml. Raises FileNotFoundError naming every place searched."""
    return ElementTree.parse(_shared("package.xml")).findtext("version", "")


def _shared(*parts: str) -> Path:
    """A file or folder beside the package in the source, and under share/ where installed."""
    package = Path(__file__).absolute().parent
    shared = Path("share", PACKAGE)
    places = [package.parent, package, *(parent / shared for parent in package.parents)]
    places += [prefix / shared for prefix in _prefixes()]
    for place in places:
        if (found := place.joinpath(*parts)).exists():
            return found
    looked = ", ".join(str(place) for place in places)
    raise FileNotFoundError(f"no {'/'.join(parts)} of {PACKAGE}; looked at: {looked}")


def _installed(below: Path) -> Path:
    """A file below one of the ROS prefixes. Raises FileNotFoundError."""
    for prefix in _prefixes():
        if (found := prefix / below).is_file():
            return found
    raise FileNotFoundError(f"no {below} in a ROS prefix")


def _prefixes() -> list[Path]:
    return [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]


def weights_dir() -> Path:
    """The folder of the shipped checkpoints, inside the Python package in every layout."""
    return Path(__file__).absolute().parent / "weights"


def find_policy(name_or_path: str) -> Path:
    """The folder or policy file of a shipped name or path. Raises FileNotFoundError."""
    path = Path(name_or_path).expanduser()
    named = config_dir() / "policies" / f"{name_or_path}.yaml"
    for found in (weights_dir() / name_or_path, named, path):
        if found.is_dir() or (found.is_file() and found.suffix in (".yaml", ".yml")):
            return found
    names = sorted(p.name for p in weights_dir().glob("*/") if (p / "config.json").is_file())
    names += sorted(p.stem for p in (config_dir() / "policies").glob("*.yaml"))
    raise FileNotFoundError(
        f"policy {name_or_path!r}: no folder and no policy file of that path; "
        f"shipped are only: {', '.join(names) or 'none'}"
    )


def embodiment_names() -> tuple[str, ...]:
    """Names of the robots shipped with the package."""
    return tuple(sorted(p.stem for p in (config_dir() / "embodiments").glob("*.yaml")))


def find_embodiment(name_or_path: str | Path) -> Path:
    """The file of a shipped name ('vx300s'), or the YAML file itself. Raises ValueError for other names."""
    as_text = str(name_or_path)
    if as_text.endswith((".yaml", ".yml")) or "/" in as_text:
        return Path(name_or_path)
    if as_text not in embodiment_names():
        raise ValueError(
            f"embodiment: got {as_text!r}, expected one of {', '.join(embodiment_names())} "
            "or the path of a .yaml file"
        )
    return config_dir() / "embodiments" / f"{as_text}.yaml"


def split_adapter(name_or_path: str) -> tuple[str, Path | None]:
    """BASE+ADAPTER as the name of the base and the adapter's folder; else the name and None.

    Only the last + separates, and none in an existing path.
    """
    base, found, adapter = name_or_path.rpartition("+")
    if not (found and base and adapter) or Path(name_or_path).expanduser().exists():
        return name_or_path, None
    return base, Path(adapter).expanduser()
