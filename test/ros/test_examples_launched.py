"""The launch file of examples/ros2_control under ROS's launch: its mock hardware stood in for, the rest as it is.

ros2_control's programs are stood in for by ones that say how they were called: where these are installed, too, so that
no hardware interface is needed.
"""

import importlib.util
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import rclpy
import yaml
from ros_witness import spinning, wait

from vla_policy.embodiment import load_embodiment

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="no launch here: a sourced ROS installation (Jazzy, Kilted) runs this",
)
FILE = Path(__file__).parents[2] / "examples" / "ros2_control" / "mock_hardware.launch.py"
ROBOTS, MOVED = (runpy.run_path(str(FILE))[name] for name in ("ROBOTS", "MOVED"))
STAND_INS = {
    "robot_state_publisher": ("robot_state_publisher",),
    "controller_manager": ("ros2_control_node", "spawner"),
}
PROGRAM = """#!{python}
import json, os, signal, sys
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + chr(10))
if not sys.argv[0].endswith("spawner"):
    ends = (signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    signal.sigwait(ends)
"""
RUN = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
given = dict(word.split(":=") for word in sys.argv[2:])
service = LaunchService()
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=given.items())])
)
sys.exit(service.run())
"""


def stood_in_for(prefix):
    """A prefix of ament with the stand-ins."""
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    for package, programs in STAND_INS.items():
        (index / package).touch()
        folder = prefix / "lib" / package
        folder.mkdir(parents=True)
        for name in programs:
            (folder / name).write_text(PROGRAM.format(python=sys.executable))
            (folder / name).chmod(0o755)
    return prefix


@pytest.fixture(params=ROBOTS)
def launched(request, ros, tmp_path, interfaces):
    """(robot's name, a node beside its launched graph, how the stand-ins were called)."""
    calls, log = tmp_path / "calls", tmp_path / "log"
    calls.touch()
    prefix = stood_in_for(tmp_path / "prefix")
    known = interfaces["AMENT_PREFIX_PATH"]
    more = {"AMENT_PREFIX_PATH": f"{prefix}{os.pathsep}{known}", "CALLS": str(calls)}
    line = [sys.executable, "-c", RUN, str(FILE), f"robot:={request.param}", "policy:=tiny"]
    node = rclpy.create_node("asker")
    with log.open("w") as said, spinning(node):
        process = subprocess.Popen(
            line, env={**interfaces, **more, "ROS_LOG_DIR": str(tmp_path)}, cwd="/", stdout=said, stderr=said
        )  # fmt: skip
        try:
            yield (
                request.param,
                node,
                lambda: [json.loads(text) for text in calls.read_text().splitlines()],
            )
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            sys.stdout.write(log.read_text())
    assert "Traceback" not in log.read_text()


def test_the_example_starts_its_controllers_and_the_graph(launched):
    name, node, calls = launched
    space, controllers = ROBOTS[name]
    begin = f"/{space}" if space else ""
    wait(lambda: len(calls()) == 3, "the programs of ros2_control")
    by_name = {call[0]: call[1:] for call in calls()}
    assert by_name["spawner"][: len(controllers) + 2] == [
        *controllers, "--controller-manager", f"{begin}/controller_manager",
    ]  # fmt: skip
    for program in ("ros2_control_node", "robot_state_publisher"):
        assert (f"__ns:={begin}" in by_name[program]) == bool(begin)
    files = [word for word in by_name["ros2_control_node"] if word.endswith(".yaml")]
    assert set(yaml.safe_load(Path(files[0]).read_text())) >= {f"{begin}/controller_manager"}

    def nodes():
        return {n for n, _ in node.get_node_names_and_namespaces()}

    wait(lambda: {"cameras", "control", "task", "policy"} <= nodes(), "the graph and the cameras")
    robot = load_embodiment(name)
    images = {f"/{camera.topic}" for camera in robot.cameras.values()}

    def of_cameras():
        found = {t for t, _ in node.get_publisher_names_and_types_by_node("cameras", "/")}
        found |= {t for t, _ in node.get_subscriber_names_and_types_by_node("cameras", "/")}
        return found | {t for t, _ in node.get_service_names_and_types_by_node("cameras", "/")}

    wait(lambda: images <= of_cameras(), "the images of the mock")
    for moved in MOVED[name]:
        assert not [t for t in of_cameras() if t == f"/{moved}" or t.startswith(f"/{moved}/")]
        assert [t for t in of_cameras() if t.startswith(f"/unused/{moved}")]
