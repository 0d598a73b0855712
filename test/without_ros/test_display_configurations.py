"""The RViz configuration and the Foxglove layout name topics and types that a robot's graph has."""

import json
import re

import yaml

from vla_policy.embodiment import load_embodiment
from vla_policy.paths import config_dir
from vla_policy.ros.bringup.endpoints import PUBLISHES, endpoints
from vla_policy.ros.bringup.graph import node_specs

PUBLISHED = {
    "/" + end.name.lstrip("/")
    for end in endpoints(
        node_specs("vx300s", sim=True, markers=True), load_embodiment("vx300s")
    )
    if end.does == PUBLISHES
}  # fmt: skip


def test_rviz_shows_what_is_published():
    content = yaml.safe_load((config_dir() / "rviz" / "vla_policy.rviz").read_text())
    displays = content["Visualization Manager"]["Displays"]
    topics = {"/" + d["Topic"]["Value"] for d in displays if "Topic" in d}
    assert topics == {"/chunk_markers", "/chunk_path/ee", "/sent_path/ee"} and topics <= PUBLISHED


def test_foxglove_shows_what_is_published():
    text = (config_dir() / "foxglove" / "vla_policy.json").read_text()
    panels = json.loads(text)["configById"]
    assert panels["CallService!stop"]["serviceName"] == "/control/stop"
    named = {re.split(r"[.\[]", t)[0] for t in re.findall(r'"(/[a-z_/.\[\]0-9]+)"', text)}
    others = {"/control/stop", "/diagnostics", "/instruction"}
    assert named - others <= PUBLISHED and "/chunk_markers" in named
