"""A running server of each test's own."""

from __future__ import annotations

import pytest
from web_site import Site


@pytest.fixture
def site():
    made = Site()
    yield made
    made.server.close()


@pytest.fixture
def open_site():
    """One that listens on all addresses."""
    made = Site("0.0.0.0")
    yield made
    made.server.close()
