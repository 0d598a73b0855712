"""The rehearsal of the tutorials reads every command of them, and runs, ends and judges as it says."""

import socket
import sys
import time
from pathlib import Path

import first_hour
import pytest

TUTORIALS = sorted((first_hour.ROOT / first_hour.FOLDER).glob("*.md"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_every_command_of_a_tutorial_is_run_or_says_why_not(path):
    steps = first_hour.steps(path.read_text())
    assert len(steps) >= 10
    assert path.read_text().count("```sh") == len(first_hour.BLOCK.findall(path.read_text()))
    for step in steps:
        assert step.mode != "skip" or step.why, step
        assert step.mode == "skip" or step.command.split()[0] in ("vla", "make", "python", "."), (
            step
        )
    assert f"<!-- times: {path.stem} -->" in path.read_text()


TEXT = """
<!-- rehearse: before, echo stand-in -->
<!-- rehearse: append, --steps 2 -->
```sh
vla train   # of six hours
vla check checkpoint x
```
<!-- rehearse: insert, --few -->
```sh
vla inspect x > y
```
<!-- rehearse: skip, hardware -->
```sh
ros2 launch a b
```
"""


def test_comments_change_what_is_run():
    found = [(s.told, s.command, s.mode) for s in first_hour.steps(TEXT)]
    assert found == [
        ("", "echo stand-in", "run"),
        ("vla train", "vla train --steps 2", "run"),
        ("vla check checkpoint x", "vla check checkpoint x", "run"),
        ("vla inspect x > y", "vla inspect x --few > y", "run"),
        ("ros2 launch a b", "ros2 launch a b", "skip"),
    ]
    with pytest.raises(ValueError, match="rehearse: sckip"):
        first_hour.steps("<!-- rehearse: sckip, x -->\n```sh\nvla stop\n```\n")


def test_a_rehearsal_runs_judges_and_ends_what_it_started(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = f"{sys.executable} -m http.server --bind 127.0.0.1 {port}"
    page = tmp_path / "page.md"
    page.write_text(
        f"<!-- rehearse: background -->\n```sh\n{serve}\n```\n"
        f"<!-- rehearse: wait for port {port} -->\n```sh\ntest -d log\nfalse\n```\n"
        "<!-- rehearse: result may differ, luck -->\n```sh\nfalse\n```\n"
        "<!-- rehearse: result may differ, luck -->\n```sh\necho timeout after 2.0 s; false\n```\n"
    )
    rows = list(first_hour.walk(page, tmp_path))
    assert [row["outcome"] for row in rows] == ["started", "ok", "failed", "failed", "ok"]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(first_hour, "LIMIT_S", 2.0)
    _, code, said = first_hour.run("sleep 600 & echo $! > pid; wait", tmp_path)
    assert (code, said) == (124, "not done in 2 s")
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    for _ in range(
        100
    ):  # the one that takes over what has no parent may be slow to see that it ended
        if not stat.exists() or stat.read_text().split(") ")[1][0] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("it goes on")


def test_times_replace_those_before():
    rows = [
        {"ran": "vla stop", "why": "", "outcome": "ok", "seconds": 1.25},
        {"ran": "ros2 launch", "why": "hardware", "outcome": "skipped"},
    ]
    text = "# A\n<!-- times: a -->\nold\n"
    once = first_hour.with_times(text, rows, "today")
    assert (
        once.endswith("| `vla stop` | 1.25 |\n| `ros2 launch` | hardware |\n")
        and "old" not in once
    )
    assert first_hour.with_times(once, rows, "today") == once
