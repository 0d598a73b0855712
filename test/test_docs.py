"""Documents name what exists; and the program that checks this finds what is planted."""

from pathlib import Path

import check_docs
import doc_commands
import pytest

FENCED = "```\n{}\n```\n"


def found_in(text: str, tmp_path: Path) -> list[str]:
    file = tmp_path / "page.md"
    file.write_text(text)
    return check_docs.mistakes(file)


def test_the_documents_are_found():
    names = {path.relative_to(check_docs.ROOT).as_posix() for path in check_docs.documents()}
    assert {"README.md", "CONTRIBUTING.md", "docs/safety.md", "docs/robots/fr3.md"} <= names


@pytest.mark.parametrize(
    "path", check_docs.documents(), ids=lambda path: path.relative_to(check_docs.ROOT).as_posix()
)
def test_a_document_names_what_exists(path):
    assert not check_docs.mistakes(path)


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("vla evalute --policy tiny", "vla has no verb 'evalute'"),
        ("vla evaluate --polic tiny", "vla evaluate has no option --polic"),
        ("vla evaluate --scheme recceding", "vla evaluate --scheme has no 'recceding'"),
        ("vla evaluate --head=flwo", "vla evaluate --head has no 'flwo'"),
        ("vla generate scene --out data/x", "vla generate has no 'scene'"),
        ("vla train --step 3", "vla train has no option --step"),
        ("vla demo --seeds 2", "vla demo has no option --seeds"),  # up.py declares them for it
        ("vla demo --web_port 0", "vla demo has no option --web_port"),
        ("vla up fr3 --head flwo", "vla up --head has no 'flwo'"),
        ("vla check topic vx300s", "vla check has no 'topic', only embodiment, "),
        ("vla check topics vx300s --model x", "vla check topics has no option --model"),
        (". tools/env.sh && vla say x && vla halt", "vla has no verb 'halt'"),
        ("ros2 launch vla_policy fr33.launch.py", "there is no launch file 'fr33.launch.py'"),
        ("ros2 launch vla_policy fr3.launch.py polcy:=X", "fr3.launch.py has no argument 'polcy'"),
        ("ros2 run vla_policy contrl_node", "there is no executable 'contrl_node'"),
        ("make tests", "the Makefile has no target 'tests'"),
        ("make test TEST=test/ros", "the Makefile has no variable TEST"),
        ('make test TESTS="test/rso -k say"', "test/rso is not there"),
        ("pytest test/test_gard.py", "test/test_gard.py is not there"),
        ("pytest test/test_cli.py::test_modls", "test/test_cli.py::test_modls is not there"),
        ("python benchmarks/soak.py --minuts 3", "benchmarks/soak.py has no option --minuts"),
        ("python benchmarks/soek.py", "benchmarks/soek.py is not there"),
        ("python -m vla_policy.no_such --seed 1", "vla_policy.no_such is not there"),
        ("pip install -r requirements/webb.txt", "requirements/webb.txt is not there"),
        ("cp config/embodiments/fr4.yaml my_arm.yaml", "config/embodiments/fr4.yaml is not there"),
        ("ros2 action send_goal /x vla_policy/action/Nothing", "vla_policy/action/Nothing is not"),
    ],
)
def test_a_planted_command_is_found(command, what, tmp_path):
    [in_block] = {line.partition(": ")[2] for line in found_in(FENCED.format(command), tmp_path)}
    assert in_block.startswith(what)
    [in_sentence] = {line.partition(": ")[2] for line in found_in(f"Try `{command}`.", tmp_path)}
    assert in_sentence.startswith(what)


@pytest.mark.parametrize(
    "command",
    [
        "$ vla check embodiment my_arm.yaml --model my_arm.urdf",
        "vla check embodiment NAME\\|FILE [--model URDF\\|MJCF] [--strict]",
        "vla evaluate --policy NAME --scheme rtc --out benchmarks/new.json   # --bogus in a remark",
        "vla demo --renderer raycast -- put --this in the tray",
        "vla say don't --stop",  # an apostrophe: not taken apart
        "vla <verb> --help",
        "VLA=1 make demo HEAD=token PYTHON=python3.12",
        "ros2 launch vla_policy <name>.launch.py sim:=mock policy:=FOLDER --show-args",
        "ros2 launch so101_bringup follower.launch.py port:=x",
        "vla inspect FOLDER --policy-file > policy.yaml",
        "pytest test/test_cli.py::test_models",
    ],
)
def test_right_commands_pass(command, tmp_path):
    assert not found_in(FENCED.format(command) + f"\nOr `{command}`.\n", tmp_path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("See [x](gone.md).", "1: link to gone.md, which is not there"),
        ("# One thing\n\n[x](#another-thing)", "3: link to #another-thing: there is no such"),
        ("\n![x](images/gone.png)", "2: link to images/gone.png, which is not there"),
        ("In `vla_policy/gone.py`.", "1: vla_policy/gone.py is not there"),
        ("In `gone/away.py`\nand `x`", "1: gone/away.py is not there"),
        ("| `launch/*.lunch.py` |", "1: launch/*.lunch.py is not there"),
        ("```python\nimport x\nfrom vla_policy.gone import y\n```", "no module vla_policy.gone"),
        ("```python\nfrom vla_policy.policy import lod\n```", "vla_policy.policy has no lod"),
        ("```python\nfrom vla_policy import (\n```", "the example is no Python"),
    ],
)
def test_a_planted_name_is_found(text, what, tmp_path):
    [line] = found_in(text, tmp_path)
    assert what in line


def test_right_names_pass(tmp_path):
    (tmp_path / "other.md").write_text("# Words that *stop*\n\n## `vla stop`, twice\n")
    text = """# A page
[a](other.md), [b](other.md#words-that-stop), [c](other.md#vla-stop-twice), [d](#a-page), [e](https://x.org/gone.md)
`vla_policy/policy.py`, `policy.py`, `docs/`, `launch/*.launch.py`, `config/embodiments/<name>.yaml`, `left/ee_pose`,
`out/demo/demo.mp4`, `my_arm.yaml`, `vla_policy/msg/ActionChunk`, `test/test_cli.py:3`.
```python
from vla_policy.policy import Policy, load_policy
```
"""
    assert not found_in(text, tmp_path)


def test_options_that_two_verbs_share_are_known():
    demo, up = doc_commands.verb_arguments("demo"), doc_commands.verb_arguments("up")
    assert {"--stay", "--policy", "--web-port"} <= set(demo.options)
    assert "--stay" not in up.options
    assert up.options["--renderer"] == ("auto", "egl", "osmesa", "raycast")


def test_every_verb_and_launch_argument_is_read():
    assert all(
        len(doc_commands.verb_arguments(verb).options) >= 1 for verb in doc_commands.verbs()
    )
    assert {"embodiment", "policy", "sim", "web_port", "remap"} <= set(
        doc_commands.launch_arguments()
    )


def test_options_that_another_module_declares_are_known():
    for verb in ("compare", "evaluate"):  # by name, and as an attribute of the module
        assert {"--scheme", "--ray", "--workers"} <= set(doc_commands.verb_arguments(verb).options)
