"""The page's server over real HTTP on loopback: what it shows, and whom it obeys."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from unittest.mock import Mock, create_autospec

import cv2
import numpy as np
import pytest

from vla_policy.web.panel import Actions, Answer, Panel
from vla_policy.web.server import Server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Site:
    """A running server, its panel and what its actions were asked."""

    def __init__(self) -> None:
        self.panel = Panel(("front", "overview"))
        names = Actions.__dataclass_fields__
        self.asked = {n: Mock(spec=lambda *a: None, return_value=Answer(True, n)) for n in names}
        self.port = free_port()
        actions = Actions(**self.asked)
        self.server = Server(self.panel, actions, host="127.0.0.1", port=self.port)
        self.server.start()

    def ask(self, method: str, path: str, body: str | None = None, **headers: str):
        """(status, text); header names have _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    def token(self) -> str:
        return re.search(r'"token": "([^"]+)"', self.ask("GET", "/")[1])[1]


@pytest.fixture
def site():
    made = Site()
    yield made
    made.server.close()


def test_the_page_stands_alone_and_names_its_cameras(site):
    status, text = site.ask("GET", "/")
    assert status == 200 and '"cameras": ["front", "overview"]' in text
    assert not re.findall(r"(?:https?:)?//[a-z]", text), "nothing is loaded from elsewhere"


def test_state_is_what_was_told_last(site):
    site.panel.tell(engaged=True, queue=3)
    site.panel.tell(queue=4)
    assert json.loads(site.ask("GET", "/state")[1]) == {"engaged": True, "queue": 4}


def test_each_request_reaches_its_action(site):
    token = site.token()
    for path, name, arguments in (
        ("/stop", "stop", ()),
        ("/reset", "reset", ()),
        ("/engage", "engage", (True,)),
        ("/disengage", "engage", (False,)),
    ):
        assert site.ask("POST", path, X_Token=token)[0] == 200
        site.asked[name].assert_called_with(*arguments)
    assert site.ask("POST", "/say", "pick up the red cube\n", X_Token=token)[0] == 200
    site.asked["say"].assert_called_once_with("pick up the red cube")


@pytest.mark.parametrize("words", ["stop", "STOP " * 60, "stop\nplease", "\u200bstop"])
def test_a_word_to_stop_is_passed_on_however_it_is_written(site, words):
    assert site.ask("POST", "/say", words.encode(), X_Token=site.token())[0] == 200
    site.asked["say"].assert_called_once_with(words.strip())


def test_a_refused_request_is_told_with_its_sentence(site):
    site.asked["engage"].return_value = Answer(False, "the front camera is stale")
    status, text = site.ask("POST", "/engage", X_Token=site.token())
    assert status == 409 and json.loads(text)["message"] == "the front camera is stale"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_Token": "wrong"},
        {"X_Token": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
    ],
)
def test_who_is_not_the_page_moves_nothing(site, headers):
    good = {"X_Token": site.token()} if "X_Token" not in headers and headers else {}
    status, _ = site.ask("POST", "/say", "go", **good, **headers)
    assert status == 403
    for action in site.asked.values():
        action.assert_not_called()


def test_another_host_name_does_not_even_get_the_page(site):
    status, text = site.ask("GET", "/", Host=f"evil.example:{site.port}")
    assert status == 403 and "token" not in text


def test_the_page_itself_is_obeyed(site):
    origin = f"http://localhost:{site.port}"
    assert site.ask("POST", "/stop", X_Token=site.token(), Origin=origin)[0] == 200


@pytest.mark.parametrize("path", ["/say", "/stop", "/engage"])
def test_a_get_changes_nothing(site, path):
    assert site.ask("GET", path, X_Token=site.token())[0] == 405


@pytest.mark.parametrize("words", ["", "   ", "x" * 201, "two\nlines", "nul\0", "x" * 5000])
def test_what_is_no_instruction_is_not_said(site, words):
    status, _ = site.ask("POST", "/say", words, X_Token=site.token())
    assert status in (400, 413)
    site.asked["say"].assert_not_called()


def test_a_stream_shows_each_new_image(site):
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=5)
    site.panel.show("front", np.full((16, 16, 3), (255, 0, 0), np.uint8))
    connection.request("GET", "/camera/front")
    response = connection.getresponse()
    assert response.headers["Content-Type"].startswith("multipart/x-mixed-replace")
    first = read_part(response)
    site.panel.show("front", np.full((16, 16, 3), (0, 0, 255), np.uint8))
    second = read_part(response)
    assert first[8, 8, 2] > 200 > first[8, 8, 0] and second[8, 8, 0] > 200 > second[8, 8, 2]
    connection.close()


def read_part(response) -> np.ndarray:
    """The next image of a multipart stream, BGR."""
    length = 0
    while (line := response.readline().strip()) or not length:
        if line.startswith(b"Content-Length:"):
            length = int(line.split(b":")[1])
    data = np.frombuffer(response.read(length), np.uint8)
    response.readline()
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def test_an_unknown_camera_is_not_found(site):
    assert site.ask("GET", "/camera/nothing")[0] == 404


def test_an_image_is_encoded_once_for_many_viewers():
    panel = Panel(("front",))
    assert panel.jpeg("front", 0) is None
    panel.show("front", np.zeros((8, 8, 3), np.uint8))
    assert panel.jpeg("front", 0) is panel.jpeg("front", 0)
    assert panel.jpeg("front", 1) is None


def test_a_port_in_use_is_one_sentence(site):
    other = Server(Panel(()), create_autospec(Actions), host="127.0.0.1", port=site.port)
    with pytest.raises(ValueError, match=f"cannot listen on 127.0.0.1 port {site.port}: .*in use"):
        other.start()
    other.close()


def test_close_is_quick_although_somebody_watches(site):
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=5)
    connection.request("GET", "/camera/front")
    connection.getresponse()
    started = time.monotonic()
    site.server.close()
    assert time.monotonic() - started < 2.0
    assert not site.server._thread.is_alive()
    connection.close()
