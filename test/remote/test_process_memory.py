"""Large messages leave nothing in the heap of a server, and what was loaded is left out of garbage collections."""

import ctypes
import subprocess
import sys

import pytest

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
