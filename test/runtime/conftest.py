"""An inference thread of each test's own."""

from __future__ import annotations

import pytest
from inference_bench import Bench


@pytest.fixture
def bench(request):
    made = Bench()
    yield made
    made.inference.close()
