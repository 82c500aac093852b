"""Forward and backward pass of a batch replayed as one CUDA graph.

A recurrent decoder is hundreds of kernels of some microseconds each, and launching them takes a processor longer than
the GPU needs for them. A graph is launched once. It belongs to one shape of batch: the first batch of a shape is
recorded, those that follow are copied to where the recorded kernels read. `CaptionedImages(few_shapes=True)` packs
batches so that an epoch has a few dozen shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from src.training.batches import Batch
from src.training.learner import Losses

Loss = Callable[[Any, Tensor, Tensor], tuple[Tensor, Losses]]
"""What is to be minimised, of a batch and the counts of words and captions to divide by."""

WARM_UPS = 2
"""Passes before the recording: kernels are compiled, and libraries allocate what they keep."""


class _Recorded(NamedTuple):
    graph: torch.cuda.CUDAGraph
    batch: Batch
    nats: Tensor


class StepGraphs:
    """Computes the gradients of batches; the shapes that it has seen, it replays."""

    def __init__(self, loss: Loss, parameters: Iterable[nn.Parameter]) -> None:
        self._loss = loss
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._gradients = [torch.zeros_like(parameter) for parameter in self._parameters]
        device = self._gradients[0].device
        self._words, self._captions = torch.ones(2, device=device).unbind()
        self._grids: dict[torch.Size, Tensor] = {}
        self._recorded: dict[tuple[int, tuple[int, ...]], _Recorded] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, batch: Batch, words: int, captions: int, seed: int) -> float:
        """Leave the batch's gradients with the parameters, and return its nats.

        Args:
            words, captions: of the whole batch, this process' share and the others'.
            seed: of the numbers that dropout draws.

        Raises:
            torch.OutOfMemoryError: there is no room for a graph of this shape; `forget` makes some.
        """
        assert batch.grids is not None
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        self._words.fill_(words)
        self._captions.fill_(captions)
        shape = len(batch.rows), batch.active
        if shape not in self._recorded:
            self._recorded[shape] = self._record(batch)
        recorded = self._recorded[shape]
        into = recorded.batch
        assert into.grids is not None
        into.grids.copy_(batch.grids)
        into.inputs.copy_(batch.inputs)
        into.targets.copy_(batch.targets)
        torch.manual_seed(seed)
        recorded.graph.replay()
        return float(recorded.nats)

    def forget(self) -> None:
        """Give the graphs' memory back."""
        self._recorded.clear()
        self._grids.clear()
        self._pool = torch.cuda.graph_pool_handle()

    def _record(self, batch: Batch) -> _Recorded:
        assert batch.grids is not None
        if batch.grids.shape not in self._grids:
            self._grids[batch.grids.shape] = batch.grids.clone()
        grids = self._grids[batch.grids.shape]
        own = replace(batch, inputs=batch.inputs.clone(), targets=batch.targets.clone(), grids=grids)
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self._pass(own)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # The thread that reads the next batch pins its memory meanwhile, which a global recording would fail for.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            nats = self._pass(own)
        return _Recorded(graph, own, nats)

    def _pass(self, batch: Batch) -> Tensor:
        torch._foreach_zero_(self._gradients)
        loss, losses = self._loss(batch, self._words, self._captions)
        loss.backward()  # type: ignore[no-untyped-call]
        return losses.nats.detach()
