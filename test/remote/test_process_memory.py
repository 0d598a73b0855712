"""Large messages leave nothing in the heap of a server, and what was loaded is left out of garbage collections."""

import ctypes
import subprocess
import sys
import threading

import pytest
from serving import ROWS, Running, observation
from websockets.sync.client import connect

from vla_policy.policy import load_policy
from vla_policy.remote import process_memory

PROGRAM = """
import ctypes, gc, sys
from vla_policy.remote.process_memory import settle_memory
names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = type("Info", (ctypes.Structure,), {"_fields_": [(n, ctypes.c_size_t) for n in names]})
if sys.argv[1] == "settled":
    settle_memory()
    assert gc.get_freeze_count() > 1000
before = mallinfo2().hblkhd
for _ in range(3):
    message = bytes(16 * 1024 * 1024)
    own_pages = mallinfo2().hblkhd - before
    del message
print(own_pages)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="mallinfo2 is of glibc 2.33 and later"
)
@pytest.mark.parametrize(("how", "kept"), [("settled", True), ("as it is", False)])
def test_a_large_buffer_has_pages_of_its_own_however_often_one_was_freed(how, kept):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    assert (int(done.stdout) >= 16 * 1024 * 1024) == kept, done.stdout


def test_free_pages_are_given_back_after_clients_that_were_refused_and_for_nobody_else(
    monkeypatch,
):
    monkeypatch.setattr(process_memory, "PAUSE_S", 0.05)
    given, original = threading.Event(), process_memory.give_back
    monkeypatch.setattr(process_memory, "give_back", lambda: (original(), given.set()))
    with Running() as running:
        good = load_policy(running.address)
        assert len(good.infer(observation()).actions) == ROWS
        assert not given.wait(0.3)
        with connect(running.address, compression=None) as bad:
            bad.recv()
            bad.send(b"\xc1")
            bad.recv(timeout=5)
        assert given.wait(5)
        assert len(good.infer(observation()).actions) == ROWS
        good.close()
