"""`vla <verb>`: one small dispatcher; each verb lives in its own module and is imported when used.

A verb's module has add_arguments(parser) and run(args) -> exit code. User errors (ValueError,
OSError) end in one sentence and exit code 1, wrong arguments in exit code 2.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from vla_policy import __version__

VERBS = {
    "demo": (
        "vla_policy.commands.demo",
        "show the simulated arm doing what is typed, and judge it",
    ),
    "up": ("vla_policy.commands.up", "run the node graph of a robot, real or simulated"),
    "say": (
        "vla_policy.commands.say",
        "give the running robot an instruction, and wait for the outcome",
    ),
    "stop": ("vla_policy.commands.stop", "stop the running robot; it stays stopped until reset"),
    "teleop": (
        "vla_policy.commands.teleop",
        "drive the running robot with a gamepad, keys, a hand or a leader arm",
    ),
    "replay": (
        "vla_policy.commands.replay",
        "play a recorded episode on the running robot, through the guard",
    ),
    "record": (
        "vla_policy.commands.record",
        "record demonstrations of a robot as bags and a data set",
    ),
    "generate": ("vla_policy.commands.generate", "make training data with the scripted experts"),
    "train": ("vla_policy.commands.train", "train the policy, stage by stage; resumes by itself"),
    "adapt": (
        "vla_policy.commands.adapt",
        "teach a policy a new thing from a few demonstrations, and measure what it keeps",
    ),
    "evaluate": ("vla_policy.commands.evaluate", "measure a policy in closed loop, with a report"),
    "compare": (
        "vla_policy.commands.compare",
        "compare policies on the same trials: success, smoothness, times; one report",
    ),
    "serve": (
        "vla_policy.commands.serve",
        "let robots on the network use a policy of this machine",
    ),
    "data": (
        "vla_policy.commands.data",
        "show, check, change and convert demonstrations on disk",
    ),
    "inspect": (
        "vla_policy.commands.inspect",
        "describe a checkpoint folder, and what it lacks",
    ),
    "convert": ("vla_policy.commands.convert", "write a checkpoint folder as another project's"),
    "check": (
        "vla_policy.commands.check",
        "find mistakes in a robot file, checkpoint or running graph",
    ),
    "security": (
        "vla_policy.commands.security",
        "write the SROS2 policy of a robot's graph: an enclave for each node",
    ),
    "doctor": (
        "vla_policy.commands.doctor",
        "report machine, ROS, GPU, packages, and known problems with fixes",
    ),
    "models": (
        "vla_policy.commands.models",
        "list architectures with size and least time, and shipped policies",
    ),
}
# Modules whose absence has a known fix.
CURES = {
    "rclpy": "no ROS 2 in this environment. Run `make setup`, then `. tools/env.sh`",
    "vla_policy.msg": "the messages are not built. Run `make setup`, then `. tools/env.sh`",
    "mujoco": "no simulator in this environment. Run `pip install mujoco` and "
    "`pip install --no-deps gym-aloha`",
    "gym_aloha": "no robot meshes in this environment. Run `pip install --no-deps gym-aloha`",
    **dict.fromkeys(
        ("pyarrow", "av", "mcap", "zstandard", "rosbags"),
        "packages for data sets and bags are missing in this environment. "
        "Run `pip install pyarrow av mcap zstandard rosbags`",
    ),
    **dict.fromkeys(
        ("msgpack", "websockets", "aiohttp"),
        "packages for policies on another machine are missing in this environment. "
        "Run `pip install msgpack websockets aiohttp`",
    ),
    "ray": "no Ray in this environment, which --copies and --ray need. Run `pip install 'ray[serve]'`",
    "torch": "no PyTorch in this environment. Run `pip install torch`",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(VERBS)}"
        print(f"vla: unknown verb {verb!r}{hint}", file=sys.stderr)
        return 2
    return _run(verb, arguments[1:])


def _run(verb: str, arguments: Sequence[str]) -> int:
    try:
        module = importlib.import_module(VERBS[verb][0])
        parser = _Parser(prog=f"vla {verb}", description=module.__doc__)
        module.add_arguments(parser)
        code: int = module.run(parser.parse_args(arguments))
        return code
    except ModuleNotFoundError as error:
        cure = CURES.get(error.name or "")
        if cure is None:
            raise
        print(f"vla {verb}: {cure}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"vla {verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"vla {verb}: stopped", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line instead of a screen of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; `{self.prog} --help` lists the arguments\n")


def _overview() -> str:
    lines = [f"  {verb:<10}{text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(["vla <verb> [arguments]; `vla <verb> --help` for each", "", *lines])


if __name__ == "__main__":
    sys.exit(main())
