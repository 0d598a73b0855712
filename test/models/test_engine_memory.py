"""Weights given up as they are folded: one copy in memory, before, during and after."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine_models import BOTH, CONTRACT, ENGINES, EXACT, network_of, observation, whole

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.family import network
from vla_policy.models.config import GemmaConfig
from vla_policy.models.engine import compile_engine
from vla_policy.models.sampling import Pull, Sampling
from vla_policy.models.vla import VLA

pytestmark = pytest.mark.usefixtures("seeded_inference")
# Loads a policy in a process of its own and prints its peak memory over what was there before.
PEAK = """
import sys
from pathlib import Path

import torch
from vla_policy.models.engine import build
from vla_policy.policy import load_policy


def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


torch.set_num_threads(1)
build.RELEASED = 0
load_policy("tiny")  # whatever a first call of torch and oneDNN takes
before = resident("VmHWM")
policy = load_policy(sys.argv[1], engine=sys.argv[2])
assert (policy.checkpoint.engine is None) == (sys.argv[2] == "off")
print(resident("VmHWM") - before)
"""


@BOTH
def test_release_leaves_one_copy_and_the_same_actions(kind: str) -> None:
    given = observation(words=(6, 6))
    model = network_of(kind)
    engine = compile_engine(model, release=True)
    left = sum(p.numel() for p in model.parameters() if not p.is_meta)
    assert left < 0.5 * sum(p.numel() for p in model.parameters())
    torch.testing.assert_close(
        engine.sample(*whole(given), steps=2, solver="heun"),
        ENGINES[kind].sample(*whole(given), steps=2, solver="heun"),
        **EXACT,
    )
    through = Sampling(previous=torch.zeros(9, 8).numpy(), frozen_rows=1, pull=Pull(jacobian=True))
    with pytest.raises(ValueError, match="engine='off'"):
        network(Checkpoint(model, CONTRACT, None, None, engine=engine), through)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The policy file of a pi0 of 100 million parameters in ten layers, and its bytes in bfloat16."""
    source = Path(__file__).parents[2] / "benchmarks" / "load_memory.py"
    spec = importlib.util.spec_from_file_location("load_memory", source)
    load_memory = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(load_memory)
    heads = {"depth": 10, "heads": 8, "kv_heads": 1, "head_dim": 256}
    small = load_memory.small()
    sizes = replace(
        small,
        language=GemmaConfig(width=512, mlp=4096, **heads),
        flow=replace(small.flow, expert=GemmaConfig(width=256, mlp=512, **heads)),
    )
    with torch.device("meta"):
        count = sum(p.numel() for p in VLA(sizes).parameters())
    return load_memory.write_policy(tmp_path_factory.mktemp("pi0"), sizes), 2 * count


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux for the peak")
@pytest.mark.parametrize("engine", ["off", "auto"])
def test_weights_are_in_memory_once_while_they_load(folder: tuple[Path, int], engine: str) -> None:
    path, size = folder
    # Every block of more than 64 kB is given back when it is freed: the peak is what was held.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", PEAK, str(path), engine]
    found = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    assert 0.9 * size < int(found.stdout) < 1.15 * size
