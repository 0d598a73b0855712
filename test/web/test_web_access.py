"""Whom the page's server obeys: its own page by key, host and origin."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from web_client import PATIENCE_S
from web_site import TOKEN, Site, asked, linked

from vla_policy.web.access import access, refuse_host, refuse_origin
from vla_policy.web.server import NO_KEY


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_Key": "wrong"},
        {"X_Key": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "127.0.0.1@evil.example"},
    ],
)
def test_who_is_not_the_page_stops_nothing(site, headers):
    good = {"X_Key": site.key()} if "X_Key" not in headers and headers else {}
    assert site.ask("POST", "/stop", **good, **headers)[0] == 403
    assert site.robot.mock_calls == []


@pytest.mark.parametrize("path", ["/control", "/live"])
@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}]
)
def test_no_link_with_who_is_not_the_page(site, path, headers):
    async def run():
        async with linked(site, path, **headers):
            pass

    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        asyncio.run(run())
    assert refused.value.status == 403


@pytest.mark.parametrize("path", ["/control", "/live"])
@pytest.mark.parametrize(
    "first", ['{"key": "wrong"}', '{"key": null}', "{}", "", '{"id": 1, "ask": "stop"}']
)
def test_a_link_without_the_key_is_closed_and_tells_nothing(site, path, first):
    site.panel.tell(secret="where the robot is")

    async def run():
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(site.url + path) as socket,
        ):
            await socket.send_str(first)
            message = await asyncio.wait_for(socket.receive(), PATIENCE_S)
            return message.type, message.data

    assert asyncio.run(run()) == (aiohttp.WSMsgType.CLOSE, NO_KEY)
    assert site.robot.mock_calls == []


def test_another_host_name_does_not_even_get_the_page(site):
    status, text = site.ask("GET", "/", Host=f"evil.example:{site.port}")
    assert status == 403 and "key" not in text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "localhost:9999", "LOCALHOST"])
def test_the_page_itself_is_obeyed_through_a_tunnel_too(site, host):
    key = site.key()
    assert site.ask("POST", "/stop", X_Key=key, Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize("path", ["/say", "/engage", "/reset", "/disengage"])
def test_nothing_but_stop_is_a_post(site, path):
    assert site.ask("POST", path, X_Key=site.key())[0] == 404


def test_a_get_stops_nothing(site):
    assert site.ask("GET", "/stop", X_Key=site.key())[0] == 405
    assert site.robot.mock_calls == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"])
def test_a_forged_host_does_not_yield_the_key_beyond_loopback(open_site, host):
    status, text = open_site.ask("GET", "/", Host=f"{host}:{open_site.port}")
    assert status == (403 if host == "0.0.0.0" else 200) and TOKEN not in text
    assert TOKEN not in open_site.server.url, "addresses are logged"


def test_beyond_loopback_the_token_works(open_site):
    assert asked(open_site, "stop")["ok"]
    assert open_site.ask("POST", "/stop", X_Key=TOKEN)[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.5", "robot.lab"])
def test_beyond_loopback_it_does_not_listen_without_a_token(host):
    with pytest.raises(ValueError, match=rf"host: got '{host}', where others .* no token"):
        Site(host)


def test_the_names_under_which_a_page_is_served():
    local, everywhere = access("127.0.0.1"), access("0.0.0.0", ["robot.lab", " "], token="t")
    assert refuse_host(local, "localhost:8765", "127.0.0.1") is None
    assert refuse_host(local, "[::1]:8765", "::1") is None
    for host in ("", "robot.lab", "localhost.", "localhost:x", "[::1", "a b", "192.168.1.5"):
        assert refuse_host(local, host, "192.168.1.5"), host
    assert refuse_host(everywhere, "192.168.1.5:8765", "192.168.1.5") is None
    assert refuse_host(everywhere, "192.168.1.5:8765", "::ffff:192.168.1.5") is None
    assert refuse_host(everywhere, "Robot.Lab:8765", "192.168.1.5") is None
    for host in ("192.168.1.6:8765", "evil.example:8765", "0.0.0.0"):
        assert refuse_host(everywhere, host, "192.168.1.5"), host
    assert not everywhere.local and not access("192.168.1.5", token="t").local
    assert access("127.0.0.2").local and access("::1").local and access("localhost").local


def test_an_origin_is_the_page_s_own_or_none():
    assert refuse_origin(None, "a:1") is None and refuse_origin("http://a:1", "a:1") is None
    for origin in ("", "null", "http://a", "http://a:1/", "http://a:12", "ftp://a:1"):
        assert refuse_origin(origin, "a:1"), origin
