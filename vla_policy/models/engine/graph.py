"""One CUDA graph over vision, prefix and all steps: a chunk is then a single launch.

A graph is valid for one shape: cameras, prompt length, batch, steps and solver. The prompt keeps
its length while an instruction is carried out, so a shape is captured once and replayed; the least
recently used graph is dropped when there are too many. All graphs share one memory pool.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

GRAPHS = 16
WARM_UP = 3  # calls before capture: kernels are chosen, workspaces allocated


@dataclass(frozen=True, slots=True)
class Captured:
    """A graph with its input tensors and its output tensor."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor


class Graphs:
    """A function of tensors, captured per shape. Not for several threads at once: its buffers are its own."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function
        self._captured: OrderedDict[tuple[object, ...], Captured] = OrderedDict()
        self._pool: torch.cuda._POOL_HANDLE | None = None

    def __call__(self, *tensors: Tensor, **options: object) -> Tensor:
        key = (*((tuple(t.shape), t.dtype) for t in tensors), *sorted(options.items()))
        if key not in self._captured:
            if len(self._captured) >= GRAPHS:
                self._captured.popitem(last=False)
            self._captured[key] = self._capture(tensors, options)
        self._captured.move_to_end(key)
        captured = self._captured[key]
        for own, given in zip(captured.inputs, tensors, strict=True):
            own.copy_(given)
        captured.graph.replay()
        return captured.output.clone()

    def _capture(self, tensors: tuple[Tensor, ...], options: dict[str, object]) -> Captured:
        inputs = tuple(t.clone() for t in tensors)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._function(*inputs, **options)
        torch.cuda.current_stream().wait_stream(side)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = self._function(*inputs, **options)
        return Captured(graph, inputs, output)
