"""The pip view: models, data, training and simulation without ROS. package.xml holds the version."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def requirements(name: str) -> list[str]:
    lines = (HERE / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def data_files(folder: str) -> list[tuple[str, list[str]]]:
    """Files below folder, each under share/vla_policy/<its folder>."""
    folders: dict[str, list[str]] = {}
    for path in sorted((HERE / folder).rglob("*.yaml")):
        relative = path.relative_to(HERE)
        folders.setdefault(f"share/vla_policy/{relative.parent}", []).append(str(relative))
    return list(folders.items())


setup(
    version=ElementTree.parse(HERE / "package.xml").findtext("version"),
    packages=find_packages(include=["vla_policy", "vla_policy.*"]),
    package_data={"vla_policy": ["weights/**/*", "web/**/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/vla_policy"]),
        ("share/vla_policy", ["package.xml"]),
        *data_files("config"),
    ],
    install_requires=["torch>=2.6", *requirements("runtime")],
    extras_require={
        "sim": requirements("simulation"),
        "test": requirements("test"),
        "web": requirements("web"),
    },
    entry_points={"console_scripts": ["vla = vla_policy.cli:main"]},
)
