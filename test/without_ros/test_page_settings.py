"""Where the operator's page listens: the same answers from the command line, launch arguments and the node, before anything starts."""

from __future__ import annotations

import argparse
import socket

import pytest

from vla_policy.commands.page_arguments import add_page_arguments, page_settings
from vla_policy.ros.bringup.graph import node_specs
from vla_policy.ros.bringup.launch import ARGUMENTS, specs_of
from vla_policy.ros.bringup.page_settings import PageSettings, page_token


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    for name in ("VLA_TOKEN", "VLA_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("right\n")
    file.chmod(0o600)
    return file


def settings(*words):
    parser = argparse.ArgumentParser()
    add_page_arguments(parser, port=0)
    return page_settings(parser.parse_args(words))


def test_by_default_it_is_on_loopback_and_nothing_is_said_of_it():
    assert settings() == PageSettings(0)
    assert PageSettings(8765).parameters() == {}
    assert PageSettings(8765).url == "http://127.0.0.1:8765/"


def test_beyond_loopback_it_needs_a_token_before_anything_starts(monkeypatch, token_file):
    words = ("--web-port", str(free()), "--web-host", "0.0.0.0")
    with pytest.raises(ValueError, match=r"got '0\.0\.0\.0', where others reach the page, and no"):
        settings(*words)
    monkeypatch.setenv("VLA_TOKEN", "right")
    assert settings(*words).parameters() == {"host": "0.0.0.0"}
    monkeypatch.delenv("VLA_TOKEN")
    given = settings(*words, "--web-token-file", str(token_file)).parameters()
    assert given == {"host": "0.0.0.0", "token_file": str(token_file)}
    token_file.chmod(0o644)
    with pytest.raises(ValueError, match="others may read or write this token"):
        settings(*words, "--web-token-file", str(token_file))


def test_a_token_of_the_environment_is_not_asked_for_on_loopback(monkeypatch, token_file):
    """It may be that of the policy's server."""
    monkeypatch.setenv("VLA_TOKEN", "of-a-server")
    assert page_token("127.0.0.1", "") is None and page_token("localhost", "") is None
    assert page_token("192.168.1.5", "") == "of-a-server"
    assert page_token("127.0.0.1", str(token_file)) == "right"


def test_tls_needs_a_certificate_and_its_key(tmp_path):
    for words in (("--web-tls-cert", "a"), ("--web-tls-key", "a")):
        with pytest.raises(ValueError, match="TLS needs both, --web-tls-cert and --web-tls-key"):
            settings("--web-port", str(free()), *words)
    none = str(tmp_path / "none.pem")
    with pytest.raises(ValueError, match=rf"--web-tls-cert {none}.*No such file"):
        settings("--web-port", str(free()), "--web-tls-cert", none, "--web-tls-key", none)
    assert PageSettings(1, tls_cert="a", tls_key="b").url == "https://127.0.0.1:1/"


def test_a_port_in_use_is_named():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        with pytest.raises(ValueError, match=rf"port {port} is in use .*--web-port {port + 1}"):
            settings("--web-port", str(port))


def test_files_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert PageSettings(1, tls_cert="cert.pem").parameters() == {
        "tls_cert": str(tmp_path / "cert.pem")
    }


def test_launch_arguments_reach_the_page():
    values = {name: default for name, (default, _) in ARGUMENTS.items()}
    values |= {"embodiment": "vx300s", "sim": "mock", "web_host": "0.0.0.0", "web_tls_key": "/k"}
    web = {spec.name: spec for spec in specs_of(values)}["web"].parameters
    assert (web["host"], web["tls_key"], web["port"]) == ("0.0.0.0", "/k", 8765)
    assert "token_file" not in web
    assert specs_of(values) == node_specs(
        "vx300s", mock=True, web={"host": "0.0.0.0", "tls_key": "/k"}
    )


def free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
