"""How trials execute a policy's chunks: arguments that `vla evaluate` and `vla compare` share."""

from __future__ import annotations

import argparse

from vla_policy.execution.schemes import SCHEMES


def add_execution_arguments(parser: argparse.ArgumentParser) -> None:
    """Rows, latency, scheme, integration steps, device and renderer."""
    parser.add_argument(
        "--execute-rows", type=int, default=0, help="rows between two looks; 0: half a chunk"
    )
    parser.add_argument("--latency", type=float, default=0.1, help="s from a look to its chunk")
    parser.add_argument(
        "--scheme", default="receding", choices=tuple(SCHEMES), help="how chunks follow each other"
    )
    parser.add_argument("--num-steps", type=int, help="Euler steps of flow heads")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--renderer", default="auto", help="auto, egl, osmesa or raycast")
