"""A page that asks for a token, over TLS: real sockets, and what comes in plain, without the token or from elsewhere moves nothing."""

from __future__ import annotations

import asyncio
import json
import socket

import aiohttp
import pytest
from web_client import PATIENCE_S
from web_site import TOKEN, asked, linked

from vla_policy.web.server import NO_KEY
from vla_policy.web.tls import server_tls


def test_with_the_token_it_is_a_page_as_any(safe_site):
    status, text = safe_site.ask("GET", "/")
    assert status == 200 and '"key": null' in text.replace("&quot;", '"') and TOKEN not in text
    assert safe_site.server.url == f"https://127.0.0.1:{safe_site.port}/"
    assert asked(safe_site, "engage")["ok"]
    origin = f"https://127.0.0.1:{safe_site.port}"
    assert safe_site.ask("POST", "/stop", X_Key=TOKEN, Origin=origin)[0] == 200
    safe_site.robot.engage.assert_called_once_with(True)
    safe_site.robot.stop.assert_called_once_with()


@pytest.mark.parametrize("path", ["/", "/page.js", "/stop", "/nothing"])
def test_no_answer_sets_a_cookie(safe_site, path):
    safe_site.ask("GET", path)
    assert safe_site.cookies == []


@pytest.mark.parametrize("key", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
def test_without_the_token_nothing_is_obeyed_or_told(safe_site, key):
    safe_site.panel.tell(secret="where the robot is")
    cookie = f"key={TOKEN}; token={TOKEN}"
    assert safe_site.ask("POST", "/stop", X_Key=key, Cookie=cookie)[0] == 403

    async def run(path):
        async with (
            aiohttp.ClientSession(headers={"Cookie": cookie}) as http,
            http.ws_connect(safe_site.url + path, ssl=safe_site.trust) as link,
        ):
            await link.send_str(json.dumps({"key": key}))
            message = await asyncio.wait_for(link.receive(), PATIENCE_S)
            return message.type, message.data

    for path in ("/control", "/live"):
        assert asyncio.run(run(path)) == (aiohttp.WSMsgType.CLOSE, NO_KEY)
    assert safe_site.robot.mock_calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:{port}"},  # somebody on the way who answers in plain
        {"Origin": "null"},
        {"Host": "evil.example:{port}"},
    ],
)
def test_another_site_is_refused_although_it_knows_the_token(safe_site, headers):
    named = {name: value.format(port=safe_site.port) for name, value in headers.items()}
    assert safe_site.ask("POST", "/stop", X_Key=TOKEN, **named)[0] == 403

    async def run():
        async with linked(safe_site, "/control", **named):
            pass

    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        asyncio.run(run())
    assert refused.value.status == 403 and safe_site.robot.mock_calls == []


def test_what_comes_in_plain_is_not_answered(safe_site):
    request = (
        f"POST /stop HTTP/1.1\r\nHost: 127.0.0.1:{safe_site.port}\r\nX-Key: {TOKEN}\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", safe_site.port), PATIENCE_S) as plain:
        plain.sendall(request.encode())
        try:
            answer = plain.recv(4096)
        except ConnectionError:
            answer = b""
    assert b"HTTP" not in answer and safe_site.robot.mock_calls == []
    assert asked(safe_site, "stop")["ok"], "it still serves"


def test_a_browser_that_does_not_know_the_certificate_does_not_show_its_token(safe_site):
    async def run():
        async with aiohttp.ClientSession() as http, http.get(safe_site.url):
            pass

    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        asyncio.run(run())


def test_files_that_are_no_certificate_are_named(certificate, tmp_path):
    cert, key = certificate
    assert server_tls("", "") is None and server_tls(None, None) is None
    for one in ((cert, ""), (None, key)):
        with pytest.raises(ValueError, match="TLS needs both, tls_cert and tls_key"):
            server_tls(*one)
    for one in ((key, cert), (cert, cert), (cert, str(tmp_path / "none.pem"))):
        with pytest.raises(ValueError, match="not a certificate and its key") as raised:
            server_tls(*one)
        assert one[0] in str(raised.value) and one[1] in str(raised.value)
