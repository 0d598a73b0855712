"""A running server of each test's own."""

from __future__ import annotations

import pytest
import tls_files
from web_site import TOKEN, Site


@pytest.fixture
def site():
    made = Site()
    yield made
    made.server.close()


@pytest.fixture
def open_site():
    """One that listens on all addresses, and asks for a token."""
    made = Site("0.0.0.0", token=TOKEN)
    yield made
    made.server.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """(certificate, key): files, of 127.0.0.1, signed by itself."""
    if not tls_files.has_openssl():
        pytest.skip(tls_files.MISSING)
    return tls_files.certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def safe_site(certificate):
    """One that asks for a token, over TLS."""
    made = Site(token=TOKEN, certificate=certificate)
    yield made
    made.server.close()
