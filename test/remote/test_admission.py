"""Who gets in, and whose time it costs: those who show no reason to be served wait behind those who have."""

import asyncio
import contextlib
import random
import socket
import ssl
import struct
import threading
import time

import pytest
from hostile import frames
from serving import ROWS, Running, observation
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from vla_policy.cli import main
from vla_policy.policy import load_policy
from vla_policy.remote import gate
from vla_policy.remote.budget import Budget
from vla_policy.remote.serving import NO_TOKEN, Serving, judge_head

TOKEN = {"Authorization": "Bearer right"}
HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def said(port, sent):
    """All that the server answers to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as one:
        one.sendall(sent)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while more := one.recv(4096):
                found += more
        return found


def counted(running, why):
    """Refusals for this reason, once the server has come to count them."""
    ends_s = time.monotonic() + 3
    while why not in running.server.metrics.refused and time.monotonic() < ends_s:
        time.sleep(0.01)
    return running.server.metrics.refused.get(why)


def test_a_budget_is_a_share_of_the_time_and_the_line_is_kept():
    now = [0.0]
    budget = Budget(0.1, 0.5, clock=lambda: now[0])
    assert budget.wait_s() == 0.0
    budget.spend(0.7)
    assert budget.wait_s() == pytest.approx(2.0)
    now[0] = 1.0
    assert budget.wait_s() == pytest.approx(1.0)
    budget.give_back(0.05)
    assert budget.wait_s() == pytest.approx(0.5)
    now[0] = 1000.0
    budget.spend(0.5)  # no more is kept than most_s
    assert budget.wait_s() == 0.0
    budget.spend(0.01)
    assert budget.wait_s() == pytest.approx(0.1)

    async def run():
        line, order = Budget(1.0, 0.0), []
        line.spend(0.05)

        async def wait(name):
            await line.turn()
            order.append(name)
            line.spend(0.02)

        await asyncio.gather(*(wait(name) for name in "abcd"))
        return order

    began_s = time.monotonic()
    assert asyncio.run(run()) == list("abcd")
    assert time.monotonic() - began_s >= 0.05 + 3 * 0.02


@pytest.mark.parametrize(
    ("lines", "served"),
    [
        (b"", False),
        (b"authorization:  Bearer right", True),
        (b"Authorization: Api-Key right", True),
        (b"Authorization: Bearer right ", True),
        (b"Authorization: Bearer wrong", False),
        (b"Authorization: Basic right", False),
        (b"X: Authorization: Bearer right", False),
        (b"Authorization: Bearer \xff\xfe", False),
    ],
)
def test_a_head_is_judged_by_its_token(lines, served):
    serving = Serving(token="right")
    assert (judge_head(serving, HEAD + lines) is None) == served
    assert judge_head(Serving(), HEAD + lines) is None
    assert judge_head(serving, b"GET /healthz HTTP/1.1\r\n" + lines) is None
    assert judge_head(serving, b"GET /healthzz HTTP/1.1") is not None
    assert judge_head(serving, b"\r\n") is not None


def test_who_has_no_token_is_told_so_before_any_of_it_is_taken_apart():
    with Running(serving=Serving(port=0, token="right")) as running:
        for sent in (
            HEAD + b"\r\n",
            b"POST /act HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n" + bytes(60_000),
            b"no request at all\r\n\r\n",
        ):
            head, _, text = said(running.port, sent).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 401 ") and text.decode() == NO_TOKEN
        assert running.server.metrics.refused == {"token": 3}
        assert (
            said(running.port, b"\x16\x03\x01\x02\x00") == b""
        )  # TLS, which this one does not speak
        assert counted(running, "head") == 1


def test_silent_connections_keep_out_no_robot():
    with Running(serving=Serving(port=0, connections=4, strangers=4)) as running:
        silent = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(12)]
        good = load_policy(running.address)
        assert len(good.infer(observation()).actions) == ROWS
        assert running.server.metrics.refused["full"] == 5
        for one in silent[:5]:
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(1) == b""
        good.close()
        for one in silent:
            one.close()


def test_handshakes_that_are_never_finished_keep_out_no_robot(certificate, monkeypatch):
    monkeypatch.setenv("VLA_TLS_CA", certificate[0])
    monkeypatch.setattr(gate, "HEAD_S", 1.0)
    cert, key = certificate
    serving = Serving(port=0, connections=2, strangers=2, tls_cert=cert, tls_key=key)
    with Running(serving=serving) as running:
        silent = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(4)]
        good = load_policy(running.address)
        assert len(good.infer(observation()).actions) == ROWS
        assert running.server.metrics.refused["full"] == 1
        assert said(running.port, HEAD + b"\r\n")[:5] != b"HTTP/"
        assert counted(running, "tls") == 1
        for one in silent:  # the oldest is gone, the others are when their time is over
            one.settimeout(3)
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(1) == b""
            one.close()
        assert len(good.infer(observation()).actions) == ROWS
        good.close()
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", running.port)) as raw,
            old.wrap_socket(raw) as one,
        ):
            one.sendall(b"\x00\x01")
            assert one.recv(10) == b""


def test_robots_pay_nothing_and_whoever_is_wrong_does():
    with Running() as running:
        budget, stopped_s = running.server.budget, time.monotonic()
        budget.clock = lambda: stopped_s  # nothing is earned, so what is left is the sum
        robots = [load_policy(running.address) for _ in range(3)]
        for _ in range(5):
            for robot in robots:
                assert len(robot.infer(observation()).actions) == ROWS
        assert budget.left_s() == pytest.approx(budget.most_s)
        with (
            connect(running.address, compression=None) as bad,
            contextlib.suppress(ConnectionClosed),
        ):
            bad.recv()
            for frame in frames(random.Random(1), 10):
                bad.send(frame)
                bad.recv(timeout=2)
        assert budget.left_s() < budget.most_s - 0.0005
        for robot in robots:
            robot.close()


def test_where_the_budget_is_spent_robots_are_answered_and_others_wait():
    with Running() as running:
        known, new = load_policy(running.address), load_policy(running.address)
        known.infer(observation())
        budget, order = running.server.budget, []

        def ask(policy, name):
            assert len(policy.infer(observation()).actions) == ROWS
            order.append(name)

        running.loop.call_soon_threadsafe(budget.spend, budget.most_s + 0.5 * budget.share)
        first = threading.Thread(target=ask, args=(new, "new"))
        first.start()
        for _ in range(5):
            ask(known, "known")
        first.join(5)
        assert order == ["known"] * 5 + ["new"]
        ask(new, "new")  # known by now
        known.close()
        new.close()


@pytest.mark.parametrize(
    "flood",
    [b"\x89\x80" + bytes(4), b"\x00\x80" + bytes(4)],
    ids=["pings", "parts of a frame that never ends"],
)
def test_a_connection_whose_frames_cost_too_much_is_ended(flood, monkeypatch):
    monkeypatch.setattr(gate, "PATIENCE_S", 0.01)
    with Running() as running:
        good = load_policy(running.address)
        with connect(running.address, compression=None) as bad:
            bad.recv()
            raw = bad.socket
            ends_s = time.monotonic() + 5
            with contextlib.suppress(OSError):
                raw.sendall(b"\x02\x80" + bytes(4) if flood[0] == 0 else b"")
                while time.monotonic() < ends_s:
                    raw.sendall(flood * 2000)
            assert time.monotonic() < ends_s
        assert counted(running, "costly") == 1
        assert len(good.infer(observation()).actions) == ROWS
        good.close()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--batch", "0"], "--batch: got 0, expected 1 or more"),
        (["--threads", "-1"], "--threads: got -1, expected 1 or more"),
        (["--connections", "0"], "connections: got 0, expected 1 or more"),
        (["--device", "gpu"], "device: got 'gpu'"),
        (["--host", "0.0.0.0"], "where others reach this server, and no token"),
        (["--tls-cert", "cert.pem"], "needs both, --tls-cert and --tls-key"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(given, words, capsys, monkeypatch):
    monkeypatch.delenv("VLA_TOKEN", raising=False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    assert main(["serve", "tiny", "--port", port, *given]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and words in said


def test_two_servers_on_one_port_are_refused_before_a_policy_is_loaded(capsys):
    with Running() as running:
        assert main(["serve", "no_such_policy", "--port", str(running.port)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Address already in use; is another server running?" in said


def test_who_goes_before_the_answer_leaves_no_traceback(caplog):
    with Running() as running:
        for attempt in range(60):
            with socket.create_connection(("127.0.0.1", running.port)) as one:
                reset = struct.pack("ii", 1, 0)  # the close is a reset, not an end
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                one.sendall(
                    HEAD
                    + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
                )
                time.sleep(0.0002 * (attempt % 6))
        good = load_policy(running.address)
        assert len(good.infer(observation()).actions) == ROWS
        good.close()
    assert not caplog.records
