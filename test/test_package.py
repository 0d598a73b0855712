"""The ROS view and the pip view describe the same package."""

import re
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


def test_every_imported_ros_package_is_declared():
    declared = {e.text for tag in ("depend", "exec_depend") for e in MANIFEST.iter(tag)}
    pattern = re.compile(
        r"^\s*(?:from|import) (\w+(?:_msgs|_srvs|_interfaces)|rclpy|launch|launch_ros)\b", re.M
    )
    used = {
        name
        for path in (ROOT / "vla_policy/ros").glob("*.py")
        for name in pattern.findall(path.read_text())
    }
    assert used <= declared


@pytest.mark.parametrize(
    "name",
    [
        "launch_ros",
        "tf2_ros",
        "cv_bridge",
        "control_msgs",
        "message_filters",
        "diagnostic_updater",
    ],
)
def test_rosdep_is_told_of_what_wheels_lack(name):
    assert name in {e.text for e in MANIFEST.iter("exec_depend")}


def test_configuration_is_found_where_the_package_is_installed():
    assert (paths.config_dir() / "embodiments" / "vx300s.yaml").is_file()


def test_the_shipped_policy_is_small_and_described():
    folders = {folder.name: folder for folder in shipped()}
    size = sum(path.stat().st_size for path in folders["tiny"].rglob("*"))
    assert size <= 40e6
    assert "flow and token" in describe(folders["tiny"])
