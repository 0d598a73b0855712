"""`vla serve POLICY`: let robots on the network use a policy of this machine.

Listens on loopback unless told otherwise, and elsewhere only with a token: VLA_TOKEN in the environment, or a file
that its owner alone can read. docs/serving.md has the robot's side.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from vla_policy.remote.address import find_token, read_token_file
from vla_policy.remote.journal import Journal
from vla_policy.remote.listening import require_port
from vla_policy.remote.process_memory import settle_memory
from vla_policy.remote.server import Server
from vla_policy.remote.serving import Serving


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla serve`."""
    parser.add_argument("policy", help="shipped name, checkpoint folder or policy file")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="8000; 0 takes a free one")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="a token; its owner's alone"
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate, for wss://")
    parser.add_argument("--tls-key", metavar="FILE", help="its key")
    parser.add_argument(
        "--adapter", action="append", default=[], metavar="NAME=FOLDER",
        help="an adapter that a robot may ask for (ws://HOST:PORT?adapter=NAME); several times",
    )  # fmt: skip
    parser.add_argument("--head", choices=("flow", "token"), help="action head; else the first")
    parser.add_argument("--embodiment", help="robot, where the policy is for several")
    parser.add_argument("--device", default="cpu", help="torch device: cpu, cuda, cuda:1")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the networks (1)")
    parser.add_argument(
        "--batch", type=int, default=8, help="robots computed at once, at most (8)"
    )
    parser.add_argument(
        "--copies", type=int, metavar="N",
        help="copies of the policy, each in a process of its own under Ray Serve: one for each GPU, or several machines",
    )  # fmt: skip
    parser.add_argument("--connections", type=int, default=32, help="robots at a time (32)")


def run(args: argparse.Namespace) -> int:
    """0 after Ctrl-C or SIGTERM."""
    token = find_token() if args.token_file is None else read_token_file(args.token_file)
    serving = Serving(
        host=args.host, port=args.port, token=token, tls_cert=args.tls_cert, tls_key=args.tls_key,
        connections=args.connections,
    )  # fmt: skip
    # What is wrong is said before a model is loaded.
    for flag, number in (("--batch", args.batch), ("--threads", args.threads)):
        if number < 1:
            raise ValueError(f"{flag}: got {number}, expected 1 or more")
    require_port(serving.host, serving.port)
    serving.tls()
    journal = Journal(sys.stderr)
    if args.copies is None:
        return _run(_server(args, serving, journal), args, serving)
    from vla_policy.commands.serve_copies import started

    with started(args) as copied:
        server = Server(
            None, copied.offer, serving, journal, most=args.batch,
            looks_at_state=copied.looks_at_state, copies=copied.copies,
        )  # fmt: skip
        return _run(server, args, serving)


def _run(server: Server, args: argparse.Namespace, serving: Serving) -> int:
    settle_memory()
    return asyncio.run(_serve(server, lambda port: _announce(args, serving, port)))


def _server(args: argparse.Namespace, serving: Serving, journal: Journal) -> Server:
    from vla_policy.commands.serve_policy import (
        load,
    )  # copies in other processes need no torch here

    loaded = load(args)
    own = loaded.served[None]
    return Server(
        own.policy,
        loaded.offer,
        serving,
        journal,
        infer_many=own.infer_many,
        most=args.batch,
        looks_at_state=loaded.looks_at_state,
        adapters={name: one for name, one in loaded.served.items() if name is not None},
    )


async def _serve(server: Server, announce: Callable[[int], None]) -> int:
    """Until a signal."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    announce(await server.start())
    await ended.wait()
    await server.stop()
    return 0


def _announce(args: argparse.Namespace, serving: Serving, port: int) -> None:
    """The command for the robot."""
    scheme = "ws" if serving.tls_cert is None else "wss"
    host = serving.host
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    host = f"[{host}]" if ":" in host else host
    robot = args.embodiment or "ROBOT"
    print(f"vla up {robot} --policy {scheme}://{host}:{port}", flush=True)
    if serving.token is not None:
        print("with the same token there: VLA_TOKEN_FILE=<file>", flush=True)
    if not serving.is_local and serving.tls_cert is None:
        print("no TLS: pictures and token can be read on the way; see --tls-cert", file=sys.stderr)
