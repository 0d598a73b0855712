"""The ROS view and the pip view describe the same package."""

import ast
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

import vla_policy
from vla_policy import paths
from vla_policy.shipped import describe, shipped

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ElementTree.parse(ROOT / "package.xml")
CMAKE = (ROOT / "CMakeLists.txt").read_text()


def test_one_version():
    # setup.py reads it from package.xml.
    assert vla_policy.__version__ == MANIFEST.findtext("version")
    assert (
        'ElementTree.parse(HERE / "package.xml").findtext("version")'
        in (ROOT / "setup.py").read_text()
    )


def test_every_interface_is_generated():
    found = {
        str(path.relative_to(ROOT))
        for kind in ("msg", "srv", "action")
        for path in ROOT.glob(f"{kind}/*.{kind}")
    }
    assert found == set(re.findall(r"(?:msg|srv|action)/\w+\.(?:msg|srv|action)", CMAKE))


def test_every_node_has_an_executable():
    built = set(re.search(r"foreach\(node ([\w ]+)\)", CMAKE).group(1).split())
    written = {
        path.stem.removesuffix("_node") for path in (ROOT / "vla_policy/ros").glob("*_node.py")
    }
    assert built == written


def test_every_folder_with_code_is_a_package():
    folders = {path.parent for path in (ROOT / "vla_policy").rglob("*.py")}
    assert not [str(f) for f in folders if not (f / "__init__.py").is_file()]


def test_package_xml_names_the_ros_packages_that_are_imported_and_no_others():
    ros = re.compile(
        r"\w+_(?:msgs|srvs|interfaces|ros)|rclpy|launch|message_filters|diagnostic_updater"
    )
    used = {name for name in imported() if ros.fullmatch(name)}
    build_only = {"rosidl_default_runtime"}
    declared = {e.text for tag in ("depend", "exec_depend") for e in MANIFEST.iter(tag)}
    assert used == {name for name in declared - build_only if not name.startswith("python3-")}


def test_package_xml_names_the_python_packages_that_have_a_rosdep_key_and_no_others():
    keys = {
        "PIL": "python3-pil",
        "aiohttp": "python3-aiohttp",
        "cv2": "python3-opencv",
        "numpy": "python3-numpy",
        "rich": "python3-rich",
        "yaml": "python3-yaml",
    }
    declared = [e.text for e in MANIFEST.iter("exec_depend") if e.text.startswith("python3-")]
    assert sorted(declared) == sorted(keys[name] for name in imported() & set(keys))


def imported() -> set[str]:
    """Top-level names of all absolute imports of the package and its launch files."""
    names = set()
    paths = [*(ROOT / "vla_policy").rglob("*.py"), *(ROOT / "launch").rglob("*.py")]
    assert len(paths) > 100
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.partition(".")[0])
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "_module"
            ):  # ros/optional_messages.py
                names.add(node.args[0].value)
    return names


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE", "CHANGELOG.rst"])
def test_the_licence_and_the_changelog_are_there(name):
    text = (ROOT / name).read_text()
    assert {
        "LICENSE": "Apache License",
        "NOTICE": "vla_policy/weights/",
        "CHANGELOG.rst": "Changelog for package vla_policy",
    }[name] in text


def test_the_changelog_has_the_version():
    assert re.search(
        rf"^{re.escape(vla_policy.__version__)} \(\d{{4}}-\d\d-\d\d\)$",
        (ROOT / "CHANGELOG.rst").read_text(),
        re.M,
    )


def test_colcon_test_runs_the_tests():
    built = ROOT / "build" / "vla_policy"
    if not built.is_dir():
        pytest.skip("the package is not built here; `make test` builds it")
    listed = subprocess.run(
        ["ctest", "-N", "--test-dir", str(built)], capture_output=True, text=True, check=True
    )
    assert re.findall(r"Test +#\d+: (\w+)", listed.stdout) == ["core", "ros"]


def test_configuration_is_found_where_the_package_is_installed():
    assert (paths.config_dir() / "embodiments" / "vx300s.yaml").is_file()


def test_the_shipped_policy_is_small_and_described():
    folders = {folder.name: folder for folder in shipped()}
    size = sum(path.stat().st_size for path in folders["tiny"].rglob("*"))
    assert size <= 40e6
    assert "flow and token" in describe(folders["tiny"])
