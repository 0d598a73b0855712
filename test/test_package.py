"""The ROS view and the pip view describe the same package."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

import vla_policy
from vla_policy import paths
from vla_policy.commands.models import describe, shipped

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ElementTree.parse(ROOT / "package.xml")
CMAKE = (ROOT / "CMakeLists.txt").read_text()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_one_version():
    """package.xml holds it; what else knows it reads it there."""
    version = MANIFEST.findtext("version")
    assert vla_policy.__version__ == version
    others = ("pyproject.toml", "setup.py", "CITATION.cff", "vla_policy/__init__.py")
    assert not [name for name in others if version in (ROOT / name).read_text()]


def test_another_attribute_of_the_package_is_missing_as_usual():
    with pytest.raises(AttributeError, match="has no attribute 'version'"):
        vla_policy.version  # noqa: B018


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    """What pip is told, from a copy that has no code: headers by name, entry points."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "setup.py", "package.xml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "requirements", copy / "requirements")
    (copy / "vla_policy").mkdir()
    (copy / "vla_policy" / "__init__.py").touch()
    line = "from setuptools.build_meta import prepare_metadata_for_build_wheel as p; print(p('.'))"
    done = subprocess.run(
        [sys.executable, "-c", line], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return importlib.metadata.PathDistribution(copy / done.stdout.splitlines()[-1])


def test_pip_is_told_the_same(metadata):
    about = metadata.metadata
    assert (about["Name"], about["Version"]) == ("vla_policy", MANIFEST.findtext("version"))
    assert about["License-Expression"] == MANIFEST.findtext("license")
    assert about.get_all("License-File") == ["LICENSE", "NOTICE"]
    assert [(e.name, e.value) for e in metadata.entry_points] == [("vla", "vla_policy.cli:main")]


def test_pip_is_told_what_is_needed(metadata):
    needed = [r.partition(";")[0] for r in metadata.requires if "extra ==" not in r]
    assert any(r.startswith("torch>=") for r in needed)
    assert any(r.startswith("tokenizers>=") for r in needed)
    assert not [r for r in needed if r.startswith(("aiohttp", "mujoco", "pyarrow", "pytest"))]
    extras = {"data", "meaning", "ray", "serve", "sim", "test", "train", "web"}
    assert set(metadata.metadata.get_all("Provides-Extra")) == extras


def test_types_are_there_for_others():
    assert (Path(vla_policy.__file__).parent / "py.typed").is_file()


def test_citation_can_be_read():
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert about["license"] == MANIFEST.findtext("license")
    assert {"cff-version", "message", "title", "authors"} <= set(about)


def test_workflows_call_what_the_makefile_has():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    workflows = {p.name: yaml.safe_load(p.read_text()) for p in WORKFLOWS}
    lines = [
        step["run"]
        for workflow in workflows.values()
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    called = {name for line in lines for name in re.findall(r"\bmake (\w+)", line)}
    assert {"check", "docs", "lint", "test"} <= called <= targets
    tested = workflows["ci.yml"]["jobs"]["without-ros"]["strategy"]["matrix"]["python"]
    assert tested == ["3.10", "3.11", "3.12", "3.13"]


def test_what_the_whitelist_of_unused_names_has_is_still_in_the_code():
    listed = re.findall(r"^_\.(\w+)", (ROOT / "tools" / "vulture_whitelist.py").read_text(), re.M)
    paths = [path for name in ("vla_policy", "launch") for path in (ROOT / name).rglob("*.py")]
    paths.append(ROOT / "tools" / "check_docs.py")
    words = set(re.findall(r"\w+", "\n".join(path.read_text() for path in paths)))
    assert len(listed) > 20
    assert not [name for name in listed if name not in words]


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
        path.stem.removesuffix("_node")
        for path in (ROOT / "vla_policy/ros/nodes").glob("*_node.py")
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
        "msgpack": "python3-msgpack",
        "numpy": "python3-numpy",
        "rich": "python3-rich",
        "rosbags": "python3-rosbags-pip",
        "yaml": "python3-yaml",
    }
    declared = [e.text for e in MANIFEST.iter("exec_depend") if e.text.startswith("python3-")]
    assert sorted(declared) == sorted(keys[name] for name in imported() & set(keys))


@cache
def imported() -> frozenset[str]:
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
            ):  # ros/messages/optional_types.py
                names.add(node.args[0].value)
    return frozenset(names)


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
