"""Our client against servers of other projects, written here from what they publish of their protocols."""

import base64
import json
import socket
import ssl
import threading
import time
from dataclasses import replace

import msgpack
import numpy as np
import pytest

from vla_policy.policy import load_policy
from vla_policy.remote.address import is_remote
from vla_policy.remote.foreign import ForeignPolicy, read_rows, with_bars
from vla_policy.remote.server_file import read_server_file
from vla_policy.runtime.policy_protocol import Unavailable
from vla_policy.types import Observation

FILE = """
server: {address}
cameras: {{observation/exterior_image_1_left: side, observation/wrist_image_left: wrist}}
state: {{observation/joint_position: [joint.a, joint.b], observation/gripper_position: [gripper]}}
actions:
  names: [joint.a, joint.b, gripper]
  spaces: {{arm: joint_position, hand: gripper}}
  relative: [joint.a]
policy_hz: 10
rows: 4
embodiments: [arm]
units: {{joint.b: deg}}
inverted: [gripper]
"""
ARENA = {
    "image_resolution": [20, 30], "needs_wrist_camera": True, "n_external_cameras": 1, "needs_stereo_camera": False,
    "needs_session_id": True, "action_space": "joint_position",
}  # fmt: skip


def pack(value):
    """As msgpack_numpy of openpi is described: bytes as keys of an array."""

    def plain(v):
        return {
            b"__ndarray__": True,
            b"data": v.tobytes(),
            b"dtype": v.dtype.str,
            b"shape": v.shape,
        }

    return msgpack.packb(value, default=plain)


def unpack(data):
    def array(v):
        if b"__ndarray__" not in v:
            return v
        return np.ndarray(buffer=v[b"data"], dtype=np.dtype(v[b"dtype"]), shape=v[b"shape"])

    return msgpack.unpackb(data, object_hook=array)


class Published:
    """A first frame, then an answer to each request: answer is a value, or a function of the request."""

    def __init__(self, first, answer, converse=None):
        from websockets.sync.server import serve

        self.asked = []

        def converse_by_turns(socket):
            socket.send(pack(first))
            for data in socket:
                self.asked.append(unpack(data))
                said = answer(self.asked[-1]) if callable(answer) else answer
                if said is not None:
                    socket.send(said if isinstance(said, str | bytes) else pack(said))

        self._server = serve(
            converse or converse_by_turns, "127.0.0.1", 0, compression=None, max_size=None
        )
        self.address = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()


def seen(instruction="pick up the cup"):
    rng = np.random.default_rng(1)
    images = {n: rng.integers(0, 255, (24, 32, 3), dtype=np.uint8) for n in ("side", "wrist")}
    return Observation(
        images, np.array([0.5, np.pi, 0.25]), ("joint.a", "joint.b", "gripper"), instruction, 77
    )


@pytest.fixture
def file(tmp_path):
    def write(address, *changes):
        text = FILE.format(address=address)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "server.yaml"
        path.write_text(text)
        return path

    return write


def test_openpis_server_is_asked_with_its_keys_and_units_and_answers_in_ours(file):
    actions = np.array([[0.1, 90.0, 1.0], [0.2, 180.0, 0.0]], np.float32)
    with Published({}, {"actions": actions, "server_timing": {"infer_ms": 1.0}}) as server:
        name = str(file(server.address))
        assert is_remote(name)
        policy = load_policy(name)
        chunk = policy.infer(seen(), seed=3)
        policy.close()
    asked = server.asked[0]
    assert set(asked) == {
        "observation/exterior_image_1_left", "observation/wrist_image_left", "prompt",
        "observation/joint_position", "observation/gripper_position",
    }  # fmt: skip
    np.testing.assert_array_equal(asked["observation/wrist_image_left"], seen().images["wrist"])
    np.testing.assert_allclose(asked["observation/joint_position"], [0.5, 180.0])
    np.testing.assert_allclose(asked["observation/gripper_position"], [0.75])
    np.testing.assert_allclose(
        chunk.actions, [[0.6, np.pi / 2, 0.0], [0.7, np.pi, 1.0]], atol=1e-6
    )
    assert (chunk.names, chunk.obs_ns, chunk.step_ns) == (
        ("joint.a", "joint.b", "gripper"),
        77,
        100_000_000,
    )
    assert not policy.continues and policy.understands("anything") is None
    assert "trained for arm" in " ".join(policy.check(_robot()))


def _robot():
    from vla_policy.embodiment import load_embodiment

    return load_embodiment("vx300s")


def test_roboarenas_first_frame_decides_what_is_sent(file):
    with Published(ARENA, np.zeros((4, 3))) as server:
        policy = load_policy(str(file(server.address)))
        assert policy.infer(seen()).actions.shape == (4, 3)
        policy.infer(seen())
        policy.close()
    first, second = server.asked
    assert first["endpoint"] == "infer" and first["observation/wrist_image_left"].shape == (
        20,
        30,
        3,
    )
    assert first["session_id"] == second["session_id"] and len(first["session_id"]) > 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"action_space": "cartesian_position"},
            "the server commands cartesian_position, the policy file has",
        ),
        (
            {"action_space": "joint_velocity"},
            "the server commands 'joint_velocity', robots here take",
        ),
        ({"n_external_cameras": 2}, "needs 2 exterior cameras, the policy file has 1"),
        ({"n_external_cameras": 1, "needs_stereo_camera": True}, "needs 1 exterior cameras"),
        ({"image_resolution": "large"}, "image_resolution: got 'large'"),
    ],
)
def test_a_server_that_needs_what_the_file_does_not_give_is_refused_by_name(file, change, words):
    with Published({**ARENA, **change}, None) as server:
        with pytest.raises(ValueError, match=words):
            load_policy(str(file(server.address)))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"actions": np.zeros((4, 2))}, r"the server sent actions: got float64\[4, 2\]"),
        ({"actions": np.zeros((5, 3))}, "got 5 rows, expected at most 4"),
        ({"actions": np.full((4, 3), np.nan)}, "not finite"),
        ({"nothing": 1}, "the server sent actions: got None"),
        (
            "Traceback (most recent call last):\n  File x\nKeyError: 'image'",
            "the server failed: KeyError: 'image'",
        ),
        (b"\xc1", "what is no answer"),
    ],
)
def test_what_such_a_server_says_is_checked(file, answer, words):
    with Published({}, answer) as server:
        policy = load_policy(str(file(server.address)))
        with pytest.raises(Unavailable, match=words) as raised:
            policy.infer(seen())
        assert "\n" not in str(raised.value)


def test_an_answer_that_comes_late_is_never_read(file):
    """The server numbers nothing, so the connection with the old answer on it is given up."""
    held = threading.Event()

    def answer(asked):
        if asked["prompt"] == "slow":
            held.wait(5)
            return {"actions": np.ones((4, 3))}
        return {"actions": np.zeros((4, 3))}

    with Published({}, answer) as server:
        policy = ForeignPolicy(
            read_server_file(file(server.address, ("rows: 4", "rows: 5"))), None
        )
        with pytest.raises(Unavailable, match=r"no answer in 0\.50 s"):
            policy.infer(seen("slow"))
        held.set()
        for _ in range(50):
            try:
                rows = policy.infer(seen()).actions
                break
            except Unavailable:
                held.wait(0.02)
                threading.Event().wait(0.02)
        np.testing.assert_allclose(rows[:, 0], 0.5)
        policy.close()


@pytest.mark.parametrize("answers", [2, 3])
def test_one_answer_too_many_does_not_become_that_of_the_next_request(file, answers):
    """They carry no number: what lies there before anything is asked would have a fresh stamp."""
    given = []

    def converse(socket):
        socket.send(pack({}))
        for data in socket:
            reach = unpack(data)["observation/joint_position"][0]
            for _ in range(1 if given else answers):
                socket.send(pack({"actions": np.full((4, 3), reach, np.float32)}))
                given.append(reach)

    with Published({}, None, converse) as server:
        policy = ForeignPolicy(read_server_file(file(server.address)), None)
        told = []
        for step in range(1, 40):
            now = replace(seen(), state=np.array([step / 100, 0.0, 0.0]), obs_ns=step)
            try:  # joint.a is relative: twice where it is
                chunk = policy.infer(now)
                assert chunk.actions[0, 0] == pytest.approx(2 * step / 100, abs=1e-6), step
            except Unavailable as error:
                told.append(str(error))
            threading.Event().wait(0.01)
        policy.close()
    assert "an answer that nobody asked for" in told[0]
    assert len(given) > answers  # it went on over another connection


@pytest.mark.parametrize(
    "actions",
    [[["0.1", "2", "1"]], [[True, False, True]], [True, 1.0, 0.0], [[None, 1, 1]], [np.ones(3, bool)], [[[1.0, 1, 1]]]],
)  # fmt: skip
def test_a_list_of_what_are_no_numbers_is_no_action(file, actions):
    described = read_server_file(file("ws://gpu:8000"))
    with pytest.raises(ValueError, match="actions"):
        read_rows(described, {"actions": actions}, seen())
    for fine in ([[0, 1.5, 1]], [0, 1.5, 1], [np.array([0, 1.5, 1])]):
        assert read_rows(described, {"actions": fine}, seen()).shape == (1, 3)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "inverted: [gripper]",
            "inverted: [gripper, joint.a]",
            "a column that is not relative as well",
        ),
        ("arm: joint_position", "arm: joint_delta", "a column of a joint_position group"),
        (
            "arm: joint_position",
            "arm: joint_position, other: joint_delta",
            "a column of a joint_position group",
        ),
        ("relative: [joint.a]", "relative: [gripper]", "a column of a joint_position group"),
        ("server: ws", "server: ftp", "server: got"),
        ("joint_position, hand", "joint_dance, hand", "one of"),
        ("relative: [joint.a]", "relative: [joint.z]", "one of joint.a"),
        ("units: {joint.b: deg}", "units: {joint.b: feet}", "one of"),
        ("rows: 4", "row: 4", "did you mean 'rows'"),
        ("inverted: [gripper]", "inverted: [grip]", "did you mean 'gripper'"),
    ],
)
def test_a_wrong_file_is_refused_by_key(file, old, new, words):
    with pytest.raises(ValueError, match=words):
        read_server_file(file("ws://gpu:8000", (old, new)))


def test_an_address_without_columns_needs_a_file():
    with (
        Published({}, None) as server,
        pytest.raises(ValueError, match=r"policy file with `server: ws"),
    ):
        load_policy(server.address)


def test_nested_keys_and_bars(file):
    changes = (
        ("observation/exterior_image_1_left", "images.cam_high"), ("rows: 4", "rows: 4\nimage_px: 16\nimage_layout: chw"),
    )  # fmt: skip
    with Published({}, {"actions": np.zeros((1, 3))}) as server:
        policy = load_policy(str(file(server.address, *changes)))
        policy.infer(seen())
        policy.close()
    assert server.asked[0]["images"]["cam_high"].shape == (3, 16, 16)
    barred = with_bars(np.full((10, 20, 3), 9, np.uint8), (16, 16))
    assert (barred[:4] == 0).all() and (barred[4:12] == 9).all() and (barred[12:] == 0).all()


class OpenVla:
    """As OpenVLA's deploy script is described: POST /act, JSON with arrays in it; answer: the text of a reply."""

    def __init__(self, answer, certificate=None):
        from http.server import BaseHTTPRequestHandler, HTTPServer

        asked = self.asked = []

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self):
                asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, *_):
                """Nothing on the screen."""

        self._server = HTTPServer(("127.0.0.1", 0), Answers)
        self.address = f"http://127.0.0.1:{self._server.server_port}/act"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.address = self.address.replace("http:", "https:")
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def openvla_file(file, address):
    changes = (
        ("cameras: {observation/exterior_image_1_left: side, observation/wrist_image_left: wrist}", "cameras: {image: side}"),
        ("observation/joint_position: [joint.a, joint.b], observation/gripper_position: [gripper]", "state: [joint.a, joint.b, gripper]"),
        ("rows: 4", "rows: 1\nunnorm_key: bridge_orig"),
    )  # fmt: skip
    return str(file(address, *changes))


def test_openvlas_server_is_asked_by_plain_http(file):
    action = np.array([0.1, 90.0, 1.0])
    said = {"__numpy__": base64.b64encode(action.tobytes()).decode(), "dtype": "<f8", "shape": [3]}
    for answer in (json.dumps(said), json.dumps(json.dumps(said)), json.dumps(action.tolist())):
        with OpenVla(answer) as server:
            policy = load_policy(openvla_file(file, server.address))
            rows = policy.infer(seen()).actions
        np.testing.assert_allclose(rows, [[0.6, np.pi / 2, 0.0]])
        asked = server.asked[0]
        assert (asked["instruction"], asked["unnorm_key"]) == ("pick up the cup", "bridge_orig")
        image = np.frombuffer(base64.b64decode(asked["image"]["__numpy__"]), np.uint8)
        np.testing.assert_array_equal(image.reshape(24, 32, 3), seen().images["side"])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ('"error"', "the server sent 'error'; its log has more"),
        ("[1, 2]", r"actions: got float64\[1, 2\]"),
        ("[NaN, 1, 2]", "not finite"),
        ("<html>", "not valid JSON"),
        ("[" * 2000, "nested"),
    ],
)
def test_what_openvlas_server_says_is_checked(file, answer, words):
    with OpenVla(answer) as server:
        policy = load_policy(openvla_file(file, server.address))
        with pytest.raises(Unavailable, match=words):
            policy.infer(seen())
    with pytest.raises(Unavailable, match="no answer"):
        policy.infer(seen())


def test_openvlas_server_behind_a_certificate(file, certificate, monkeypatch):
    with OpenVla("[0.1, 90.0, 1.0]", certificate) as server:
        name = openvla_file(file, server.address)
        with pytest.raises(Unavailable, match="certificate verify failed"):
            load_policy(name).infer(seen())
        monkeypatch.setenv("VLA_TLS_CA", certificate[0])
        assert load_policy(name).infer(seen()).actions.shape == (1, 3)


def answering(script):
    """The address of a server that plays script with each connection, byte for byte."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run():
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            with near:
                near.recv(65536)
                script(near)

    threading.Thread(target=run, daemon=True).start()
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}/act"


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX:"])
def test_an_answer_that_comes_a_byte_at_a_time_is_given_up_in_time(file, head):
    ended = threading.Event()

    def drip(near):
        near.sendall(head + (b"\r\n" if head.endswith(b"\n") else b""))
        for _ in range(200):
            if ended.wait(0.05):
                return
            try:
                near.sendall(b" ")
            except OSError:
                return

    listening, address = answering(drip)
    with listening:
        policy = load_policy(openvla_file(file, address))
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"no answer in 0\.50 s"):
            policy.infer(seen())
        ended.set()
    assert time.monotonic() - started < 1.5


def test_another_place_that_an_openvla_server_names_is_not_gone_to(file):
    """The token and the pictures are for the address in the file."""
    with OpenVla("[0.0, 0.0, 0.0]") as other:

        def elsewhere(near):
            near.sendall(
                f"HTTP/1.1 302 Found\r\nLocation: {other.address}\r\nContent-Length: 0\r\n\r\n".encode()
            )

        listening, address = answering(elsewhere)
        with listening, pytest.raises(Unavailable, match="HTTP 302"):
            load_policy(openvla_file(file, address)).infer(seen())
        assert other.asked == []
