"""The tree, its C++ leaf and the action have the same ports; the Python leaf runs in test/ros/test_task_node.py."""

import re
from pathlib import Path
from xml.etree import ElementTree

from vla_policy.runtime.instruction import refuse_instruction

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "examples" / "behavior_tree"


def test_the_ports_of_the_tree_are_those_of_the_leaf_and_of_the_action():
    root = ElementTree.parse(FOLDER / "put_away.xml").getroot()
    model = root.find("TreeNodesModel/Action")
    ports = {(p.tag.removesuffix("_port"), p.get("name")) for p in model}
    code = (FOLDER / "execute_instruction.hpp").read_text()
    written = re.findall(r'BT::(In|Out)putPort<[^>]+>\("(\w+)"', code)
    assert {(f"{kind.lower()}put", name) for kind, name in written} == ports
    goal, result, _ = (ROOT / "action" / "ExecuteInstruction.action").read_text().split("---")
    for field, part in (("string instruction", goal), ("Duration timeout", goal),
                        ("uint8 DONE=", result), ("string message", result)):  # fmt: skip
        assert field in part and field.rpartition(" ")[2].rstrip("=") in code
    leaves = list(root.find("BehaviorTree").iter(model.get("ID")))
    assert len(leaves) == 2
    for leaf in leaves:
        assert set(leaf.keys()) == {name for _, name in ports}
        assert refuse_instruction(leaf.get("instruction")) is None
        assert float(leaf.get("timeout_s")) > 0
    assert root.get("main_tree_to_execute") == root.find("BehaviorTree").get("ID")
    runs = (FOLDER / "run_tree.cpp").read_text()
    assert f'registerNodeType<vla_policy_bt::{model.get("ID")}>("{model.get("ID")}"' in runs
    assert 'default_port_value = "execute_instruction"' in runs
