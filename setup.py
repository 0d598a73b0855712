"""The pip view: models, data, training and simulation without ROS.

pyproject.toml says what it is and needs; here is what that cannot say: the version, which package.xml holds, and
files below share/, where ROS tools and vla_policy/paths.py look for them.
"""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup

HERE = Path(__file__).resolve().parent


def data_files(folder: str, pattern: str = "*.yaml") -> list[tuple[str, list[str]]]:
    """Files below folder, each under share/vla_policy/<its folder>."""
    folders: dict[str, list[str]] = {}
    for path in sorted((HERE / folder).rglob(pattern)):
        relative = path.relative_to(HERE)
        folders.setdefault(f"share/vla_policy/{relative.parent}", []).append(str(relative))
    return list(folders.items())


setup(
    version=ElementTree.parse(HERE / "package.xml").findtext("version"),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/vla_policy"]),
        ("share/vla_policy", ["package.xml"]),
        *data_files("config"),
        *data_files("config", "*.rviz"),
        *data_files("config", "*.json"),
        *data_files("msg", "*.msg"),  # what bags say of our own messages
    ],
)
