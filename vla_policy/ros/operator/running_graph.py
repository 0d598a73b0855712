"""A whole graph as child processes: start, wait until every node is ready, end."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import TextIO

from vla_policy.ros.bringup.graph import NodeSpec
from vla_policy.ros.bringup.processes import Processes, stop_all
from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.watch import Lifecycles
from vla_policy.sim.twin import EXPERT

READY_S = 90.0
MANAGED = ("control", "task", "policy")  # lifecycle nodes, which say when they are active
LOG_LINE = re.compile(r"\[(ERROR|FATAL)\] (.*)")


class NodeLog:
    """Keeps all lines of the nodes in a file; shows errors, once each."""

    def __init__(self, file: TextIO, show: Callable[[str], None]) -> None:
        self._file, self._show = file, show
        self._lock = threading.Lock()
        self._shown: set[str] = set()
        self.path = file.name
        self.quiet = False
        self._refused_by = ""
        self.refusal: str | None = None

    def __call__(self, name: str, line: str) -> None:
        found = LOG_LINE.match(line)
        with self._lock:
            self._file.write(f"{name}: {line}\n")
            self._file.flush()
            if self._refused_by == name and not line.startswith("["):
                self.refusal = f"{self.refusal or name}\n  {line.strip()}"
                return
            self._refused_by = ""
            if found is None or line in self._shown or self.quiet:
                return
            self._shown.add(line)
            if found.group(2).startswith("not configured: "):
                self.refusal, self._refused_by = f"{name} {found.group(2)}", name
                return
        self._show(f"    {name}: {found.group(2)}")


class RunningGraph:
    """The processes of a graph and an operator's client in it; close() also after a failed start().

    specs: head -> the nodes; changing the head restarts the policy node only.
    """

    def __init__(
        self, specs: Callable[[str], tuple[NodeSpec, ...]], log: NodeLog, *, namespace: str = ""
    ) -> None:
        self._specs, self._log, self._namespace = specs, log, namespace
        self._processes = Processes(log)
        self._client: Client | None = None
        self._head = ""

    def start(self, head: str) -> Client:
        """Start all nodes; the client of their graph."""
        specs = self._specs(head)
        self._processes.start(specs)
        self._head = head
        self._client = client = Client("demo", namespace=self._namespace)
        self._names = [spec.name for spec in specs]
        self._lifecycles = Lifecycles(client.node, MANAGED)
        return client

    def ended(self) -> dict[str, int]:
        """Nodes that have ended -> exit code."""
        return self._processes.ended()

    def pids(self) -> dict[str, int]:
        """Process ids of the nodes."""
        return self._processes.pids()

    def wait_until_ready(self) -> None:
        """Raises ValueError with the node's message if one refuses or ends, TimeoutError after READY_S."""
        end = time.monotonic() + READY_S
        waiting = [name for name in (*MANAGED, EXPERT) if name in self._names]
        while waiting:
            self.check()
            waiting = [name for name in waiting if not self._ready(name)]
            if time.monotonic() > end:
                raise TimeoutError(
                    f"{' and '.join(waiting)} not ready in {READY_S:g} s; see {self._log.path}"
                )
            time.sleep(0.1)
        if not self._client.wait_for_simulation(max(1.0, end - time.monotonic())):
            self.check()
            raise TimeoutError(f"the simulation does not answer; see {self._log.path}")

    def _ready(self, name: str) -> bool:
        """The expert is no lifecycle node: it offers chunks once it can plan."""
        if name == EXPERT and self._client is not None:
            return bool(self._client.node.count_publishers("action_chunk"))
        return self._lifecycles.active(name)

    def check(self) -> None:
        """Raises ValueError if a node has refused or ended."""
        if self._log.refusal is not None:
            time.sleep(0.3)  # for the lines with the details
            raise ValueError(self._log.refusal)
        ended = self._processes.ended()
        if ended:
            time.sleep(0.3)  # for its last lines
            raise ValueError(f"{' and '.join(ended)} ended; see {self._log.path}")

    def change_head(self, head: str) -> None:
        """Another head of the policy, ready when this returns."""
        if head == self._head:
            return
        self._client.engage(False)
        self._processes.stop(["policy"])
        self._processes.start(spec for spec in self._specs(head) if spec.name == "policy")
        self._head = head
        end = time.monotonic() + 5.0
        while self._lifecycles.active("policy") and time.monotonic() < end:
            time.sleep(0.05)
        self.wait_until_ready()

    def close(self) -> None:
        """Leave the graph, then stop it."""
        self._log.quiet = True
        if self._client is not None:
            self._client.close()
        stop_all(self._processes)
