"""The reaction table of docs/safety.md holds what was measured, and every fault that is measured."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("fault_table", ROOT / "benchmarks/fault_table.py")
table = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(table)
PAGE = (ROOT / "docs/safety.md").read_text()
FAULTS = json.loads((ROOT / "benchmarks/fault_times.json").read_text())["faults"]


def test_the_page_has_what_was_measured():
    """`python benchmarks/fault_times.py --out benchmarks/fault_times.json` writes both."""
    assert table.with_measured(PAGE, FAULTS) == PAGE
    assert table.unknown(FAULTS) == []


def test_every_fault_that_the_tests_time_has_a_row():
    tests = "".join(p.read_text() for p in (ROOT / "test/ros/faults").glob("test_*.py"))
    names = re.findall(r'reaction\(\s*f?"([^"]+)"', tests)
    assert len(names) == tests.count("reaction(")
    example = {re.sub(r"\{[^}]*\}", "SIGX", name): {} for name in names}
    # A part that varies fits a pattern with a star; those spelled out are held by the first test.
    varying = {"chunk: SIGX", "control: SIGX", "task: SIGX"}
    assert set(table.unknown(example)) <= varying | {"SIGX: dropped", "camera SIGX: SIGX"}


def test_times_in_words():
    faults = {"a: 1": {"reaction_s": 0.018}, "a: 2": {"reaction_s": 0.31}, "b": {"reaction_s": -1}}
    assert table.measured(("a: *",), faults) == "18 ms to 0.31 s"
    assert table.measured(("a: *", "b"), faults) == "0 ms to 0.31 s"
    assert table.measured(("b",), faults) == "no command after"
    assert table.measured(("c",), faults) == "not measured"


def test_a_row_that_is_unknown_or_missing_is_refused():
    with pytest.raises(ValueError, match="is not in benchmarks"):
        table.with_measured(PAGE.replace("| two policies send", "| three policies send"), FAULTS)
    without = "\n".join(line for line in PAGE.split("\n") if "two policies send" not in line)
    with pytest.raises(ValueError, match="no row that begins with"):
        table.with_measured(without, FAULTS)
