"""What a server answers: to openpi's own client, to plain HTTP, and to those it does not serve."""

import base64
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
from serving import CONTRACT, ROWS, Played, Running, observation, plain_request

from vla_policy.remote.serving import Serving

pytest.importorskip("openpi_client", reason="openpi-client comes with `make setup`")

from openpi_client.websocket_client_policy import WebsocketClientPolicy

pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")


def get(url, body=None, **headers):
    """(status, text) of a plain HTTP request."""
    asked = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_openpis_own_client_gets_the_same_actions():
    with Running() as running:
        client = WebsocketClientPolicy("127.0.0.1", running.port)
        said = client.get_server_metadata()["vla"]
        assert said["contract"]["camera_names"] == ["front", "wrist"] and said["rows"] == ROWS
        for value in (3, 90):
            seen = observation(value=value)
            got = client.infer(plain_request(seen))
            want = Played().infer(seen).actions
            np.testing.assert_allclose(got["actions"], want, atol=1e-6)
            assert set(got) == {"actions", "state", "policy_timing", "server_timing"}
        client._ws.close()


def test_what_is_wrong_is_a_sentence_and_the_client_goes_on():
    with Running() as running:
        client = WebsocketClientPolicy("127.0.0.1", running.port)
        wrong = plain_request(observation())
        del wrong["observation/wrist"]
        for asked, words in (
            (wrong, "no image observation/wrist"),
            (plain_request(observation("raise p")), "what is 'raise p'"),
            (plain_request(observation("please raise")), "the model raised; the server's log"),
            (plain_request(observation("please refuse")), "the cup is too far"),
            ({**plain_request(observation()), "observation/state": np.zeros(2)}, r"float64\[2\]"),
        ):
            with pytest.raises(RuntimeError, match=words) as raised:
                client.infer(asked)
            assert "Traceback" not in str(raised.value) and "secret" not in str(raised.value)
        assert client.infer(plain_request(observation()))["actions"].shape == (ROWS, 3)
        client._ws.close()
        assert any("secret of the machine" in line.get("traceback", "") for line in running.log)


def test_nobody_without_the_token_is_answered():
    with Running(serving=Serving(port=0, token="right")) as running:
        address = f"http://127.0.0.1:{running.port}"
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic right"}):
            for path in ("/", "/metrics", "/nothing"):
                assert get(address + path, **header)[0] == 401
            status, says = get(f"{address}/act", b"{}", **header)
            assert status == 401 and "needs a token" in says
        with pytest.raises(Exception, match="401"):
            WebsocketClientPolicy("127.0.0.1", running.port, api_key="wrong")
        client = WebsocketClientPolicy("127.0.0.1", running.port, api_key="right")
        assert len(client.infer(plain_request(observation()))["actions"]) == ROWS
        client._ws.close()
        assert get(f"{address}/healthz") == (200, "OK\n")
        assert get(f"{address}/metrics", Authorization="Bearer right")[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "gpu"])
def test_a_server_is_not_open_to_anybody(host):
    with pytest.raises(ValueError, match="no token; give one"):
        Serving(host=host)
    assert not Serving(host=host, token="t").is_local


def test_pages_of_strangers_are_refused():
    with Running() as running:
        address = f"http://127.0.0.1:{running.port}"
        for header in (
            {"Origin": "http://evil.example"},
            {"Host": f"evil.example:{running.port}"},
        ):
            assert get(f"{address}/healthz", **header)[0] == 403


def test_openvlas_clients_are_answered():
    seen = observation()

    def array(values):
        values = np.asarray(values)
        data = base64.b64encode(np.ascontiguousarray(values)).decode()
        return {"__numpy__": data, "dtype": values.dtype.str, "shape": list(values.shape)}

    said = {
        "image": array(seen.images["front"]), "wrist": array(seen.images["wrist"]),
        "instruction": "pick it", "unnorm_key": "any", "state": list(seen.state),
    }  # fmt: skip
    with Running() as running:
        act = f"http://127.0.0.1:{running.port}/act"
        for body, wrapped in ((said, False), ({"encoded": json.dumps(said)}, True)):
            status, text = get(act, json.dumps(body).encode())
            answer = json.loads(json.loads(text)) if wrapped else json.loads(text)
            got = np.frombuffer(base64.b64decode(answer["__numpy__"]), answer["dtype"])
            assert status == 200
            np.testing.assert_allclose(got.reshape(answer["shape"]), Played().infer(seen).actions)
        for body, words in (
            (b"[" * 9000, "nested"),
            (b"{}", "instruction is empty"),
            (b"\xff", "UTF-8"),
        ):
            status, says = get(act, body)
            assert status == 400 and words in says and "Traceback" not in says
        assert get(act, json.dumps({**said, "instruction": "dance"}).encode())[0] == 422


def test_metrics_count_what_happened():
    with Running() as running:
        client = WebsocketClientPolicy("127.0.0.1", running.port)
        client.infer(plain_request(observation()))
        with pytest.raises(RuntimeError):
            client.infer(plain_request(observation("dance")))
        text = get(f"http://127.0.0.1:{running.port}/metrics")[1]
        client._ws.close()
    for line in (
        'vla_requests_total{outcome="ok"} 1', 'vla_requests_total{outcome="refused"} 1',
        "vla_answer_seconds_count 2", "vla_robots 1", "vla_batched_requests_total 2",
    ):  # fmt: skip
        assert line in text.splitlines()


def test_aloha_and_compressed_pictures_are_read():
    import cv2

    seen = observation()
    jpeg = {
        n: cv2.imencode(".png", np.ascontiguousarray(i[:, :, ::-1]))[1].tobytes()
        for n, i in seen.images.items()
    }
    upright = {n: np.ascontiguousarray(i.transpose(2, 0, 1)) for n, i in seen.images.items()}
    with Running() as running:
        client = WebsocketClientPolicy("127.0.0.1", running.port)
        for images in (jpeg, upright):
            asked = {"state": np.asarray(seen.state), "images": images, "prompt": "pick it"}
            got = client.infer(asked)["actions"]
            np.testing.assert_allclose(got, Played().infer(seen).actions, atol=1e-6)
        client._ws.close()
    assert CONTRACT.camera_names == ("front", "wrist")
