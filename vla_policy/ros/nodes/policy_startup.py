"""From parameters to a policy that fits the robot and has run once, or one sentence why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.embodiment_file import EmbodimentFile
from vla_policy.embodiment.findings import errors
from vla_policy.parsing.fields import Place
from vla_policy.paths import find_policy, split_adapter
from vla_policy.remote.address import is_remote
from vla_policy.runtime.observation import blank_observation
from vla_policy.runtime.policy_protocol import Unavailable

if TYPE_CHECKING:
    from vla_policy.policy import Policy
    from vla_policy.remote.client import Remote

# What a user can put right: reported as a sentence, without a traceback.
REFUSALS = (ValueError, FileNotFoundError, Unavailable)


def load(robot: Embodiment, name: str, head: str, device: str, threads: int) -> Policy | Remote:
    """Load, check against robot, and infer once so that the first real chunk is not the slow one.

    name: ws://host:port is the policy of a server, for which this process needs no torch.
    head: auto for the first that the checkpoint has. Raises one of REFUSALS with every mismatch.
    """
    chosen = None if head == "auto" else head
    here = not is_remote(name)
    policy = _local(robot, name, chosen, device, threads) if here else _remote(robot, name, chosen)
    if robot.ee_pose is None and any(entry.startswith("ee.") for entry in robot.state_names):
        raise ValueError(
            f"robot {robot.name!r}: its state has the tool pose, but it gives no ee_pose"
        )
    policy.infer(blank_observation(policy.contract), seed=0)
    return policy


def _remote(robot: Embodiment, name: str, head: str | None) -> Remote:
    from vla_policy.remote.client import connect_policy

    policy = connect_policy(name, head)
    if problems := policy.check(robot):
        policy.close()
        raise ValueError(
            f"policy {name!r} does not fit robot {robot.name!r}: {'; '.join(problems)}"
        )
    return policy


def _local(robot: Embodiment, name: str, head: str | None, device: str, threads: int) -> Policy:
    import torch  # only to set what the device string and the threads mean

    from vla_policy.check.checkpoint import check_fit
    from vla_policy.policy import load_local

    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device: got {device!r}, expected cpu, cuda or cuda:<n>") from error
    if found.type == "cuda" and not (found.index or 0) < torch.cuda.device_count():
        raise ValueError(
            f"device: got {device!r}, but torch finds {torch.cuda.device_count()} CUDA devices"
        )
    torch.set_num_threads(threads)
    # What `vla check` calls an error, before weights are read.
    path = find_policy(split_adapter(name)[0])
    if wrong := errors(check_fit(path, EmbodimentFile(robot, Place(robot.name)))):
        raise ValueError(
            f"policy {name!r} does not fit robot {robot.name!r}: {'; '.join(f.told for f in wrong)}"
        )
    return load_local(name, embodiment=robot.name, head=head, device=device)
