"""The planner of a chat server against a real HTTP server that behaves, lies, stalls or is not there."""

import base64
import json
import socket

import numpy as np
import pytest
from chat_stand_in import ChatStandIn
from table_policy import TablePolicy, observation

from vla_policy.planners import chat
from vla_policy.planners.chat import ChatServer, chat_planner
from vla_policy.planners.choose import find_planner
from vla_policy.runtime.images import decode_compressed
from vla_policy.runtime.planning import Answered, Attempt, PlanRequest
from vla_policy.runtime.policy_protocol import Unavailable

REQUEST = PlanRequest("clear the table", (Attempt("put the red cube in the tray", "TIMEOUT", "not done within 20 s"),), ("lift the pad",))  # fmt: skip
TOKEN = "sesame-sesame"


@pytest.fixture
def server():
    made = ChatStandIn()
    yield made
    made.close()


def asked(server, *, timeout_s=10.0, token=None, **fields):
    """What the planner answers on REQUEST."""
    found = ChatServer(server.url, "some-model", timeout_s, token=token, **fields)
    policy = TablePolicy(red_cube=(0.4, 0.0, 0.0))
    image = np.full((16, 16, 3), (200, 40, 40), np.uint8)
    return chat_planner(found)(REQUEST, policy, observation(image=image))


def test_one_question_has_task_table_history_and_picture(server):
    server.answer = lambda body: '{"next": "put the red cube on the pad"}'
    answer = asked(server, token=TOKEN)
    assert (answer.kind, answer.text) == (Answered.NEXT, "put the red cube on the pad")
    assert answer.seen == ("red cube: table",)
    [body], [token], [path] = server.asked, server.tokens, server.paths
    assert (path, token) == ("/v1/chat/completions", f"Bearer {TOKEN}")
    assert (body["model"], body["temperature"]) == ("some-model", 0)
    text, picture = body["messages"][1]["content"]
    for words in ("clear the table", "red cube: table", "TIMEOUT: not done", "Do not try again: 'lift the pad'", "pick up the red cube"):  # fmt: skip
        assert words in text["text"]
    head, _, data = picture["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    image = decode_compressed(base64.b64decode(data), "jpeg")
    assert image.shape == (16, 16, 3) and abs(int(image[8, 8, 0]) - 200) < 12


def test_a_model_without_eyes_is_sent_words_alone(server):
    asked(server, pictures=False)
    assert isinstance(server.asked[0]["messages"][1]["content"], str)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "no chat completion"),
        (b"<html>hello</html>", "no chat completion"),
        (b'{"choices": []}', "no chat completion"),
        (b'{"choices": [{"message": {"content": 7}}]}', "no chat completion"),
        (b"[" * 50_000, "no chat completion"),
        (b"x" * (chat.MAX_ANSWER_BYTES + 1), "more than"),
    ],
)
def test_a_body_that_is_no_completion_is_a_reason(server, answer, words):
    server.answer = lambda body: answer
    with pytest.raises(Unavailable, match=words):
        asked(server)


@pytest.mark.parametrize(
    "text", ["sure, I will!", '{"engage": true}', '{"next": "' + "a" * 9000 + '"}']
)
def test_a_text_that_is_no_answer_is_refused(server, text):
    server.answer = lambda body: text
    with pytest.raises(ValueError, match="planner"):
        asked(server)


@pytest.mark.parametrize(
    ("status", "words"), [(401, "VLA_PLANNER_TOKEN"), (429, "429"), (500, "500")]
)
def test_a_refusal_names_its_number_and_never_the_token(server, status, words):
    server.status, server.answer = status, lambda body: TOKEN.encode()
    with pytest.raises(Unavailable, match=words) as refused:
        asked(server, token=TOKEN)
    assert TOKEN not in str(refused.value)


def test_a_redirect_is_not_followed(server):
    server.status, server.headers = 302, {"Location": f"{server.url}/elsewhere"}
    with pytest.raises(Unavailable, match="302"):
        asked(server, token=TOKEN)
    assert len(server.asked) == 1


@pytest.mark.parametrize("how", ["silent", "drip"])
def test_a_slow_server_is_not_waited_for(server, how):
    if how == "silent":
        server.answer = lambda body: server.sleep(20.0) or "late"
    else:
        server.drip_s = 0.05  # each byte comes in time, the whole never
        server.answer = lambda body: '{"next": "' + "a" * 150 + '"}'
    with pytest.raises(Unavailable, match=r"within 0\.4 s"):
        asked(server, timeout_s=0.4)


def test_a_server_that_is_not_there_is_a_reason():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    planner = chat_planner(ChatServer(url, "m", 2.0))
    with pytest.raises(Unavailable, match="does not answer"):
        planner(REQUEST, TablePolicy(), observation())


@pytest.mark.parametrize(
    ("url", "model", "token", "words"),
    [
        ("http://user:pass@here/v1", "m", None, "read by everybody"),
        ("http://here:99999/v1", "m", None, "expected http"),
        ("http:///v1", "m", None, "expected http"),
        ("http://here/v1?key=1", "m", None, "expected http"),
        ("http://here/v1", "", None, "planner_model"),
        ("http://192.168.1.7/v1", "m", TOKEN, "over https alone"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_at_once(url, model, token, words):
    with pytest.raises(ValueError, match=words) as refused:
        ChatServer(url, model, 1.0, token=token)
    assert TOKEN not in str(refused.value) and "pass@" not in str(refused.value)


def test_the_token_comes_from_the_environment_or_a_file_and_is_never_shown(server, tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    for environment in ({chat.TOKEN: TOKEN}, {chat.TOKEN_FILE: str(file)}):
        planner = find_planner(server.url, model="m", environment=environment)
        planner(REQUEST, TablePolicy(), observation())
        assert server.tokens[-1] == f"Bearer {TOKEN}"
    assert TOKEN not in repr(ChatServer(server.url, "m", 1.0, token=TOKEN))
    file.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        find_planner(server.url, model="m", environment={chat.TOKEN_FILE: str(file)})
    with pytest.raises(ValueError, match=chat.TOKEN_FILE):
        find_planner(server.url, model="m", environment={chat.TOKEN_FILE: str(tmp_path / "no")})


def test_which_planner_a_name_means(tmp_path):
    assert find_planner("none", environment={}) is None
    assert find_planner("model", environment={}) is not None
    for name in ("modle", str(tmp_path), "ftp://here/v1"):
        with pytest.raises(ValueError, match="expected none, model, the folder"):
            find_planner(name, environment={})


def test_a_question_is_bounded(server):
    many = tuple(Attempt("put it away" * 20, "TIMEOUT", "why " * 500) for _ in range(500))
    planner = chat_planner(ChatServer(server.url, "m", 10.0, pictures=False))
    planner(PlanRequest("clear the table", many), TablePolicy(), observation())
    assert len(json.dumps(server.asked[0])) < 12_000
