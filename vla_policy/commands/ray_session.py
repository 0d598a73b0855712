"""Ray for a verb: on this machine alone or, with RAY_ADDRESS, on a cluster. Needs ray: pip install 'vla_policy[ray]'."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator

NAMESPACE = "vla_policy"


def require_ray() -> None:
    """Raises ModuleNotFoundError, which `vla` reports with its cure, where there is no ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    importlib.import_module("ray")


@contextlib.contextmanager
def ray_session(cpus: int, *, log_to_driver: bool = True) -> Iterator[bool]:
    """A running Ray until the with block ends, by an interrupt too; whether it is that of a cluster.

    cpus: processors that Ray has on this machine; a cluster has its own number.
    log_to_driver: what tasks and copies print is printed here.
    """
    require_ray()
    import ray

    joined = "RAY_ADDRESS" in os.environ
    if joined:
        ray.init(namespace=NAMESPACE, log_to_driver=log_to_driver)
    else:  # on this machine only; no other one can connect
        ray.init(
            namespace=NAMESPACE, include_dashboard=False, _node_ip_address="127.0.0.1", num_cpus=cpus,
            log_to_driver=log_to_driver,
        )  # fmt: skip
    try:
        yield joined
    finally:
        ray.shutdown()


def gpus_of(device: str) -> int:
    """GPUs that a task or copy needs whose policy is on a torch device."""
    return int(device.startswith("cuda"))
