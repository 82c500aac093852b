"""An exported graph in 8-bit integers, for processors.

Convolutions read and write integers whose ranges are those that example pictures reach (static quantisation: Jacob et
al. 2018, with one scale per output channel); matrix products quantise their input as it comes (dynamic quantisation),
because a decoder's activations have no range known beforehand, and their cost is reading the weights.

Weights keep to 7 of the 8 bits: x86 processors without VNNI add products of 8 by 8 bits in pairs of 16, where two large
ones overflow.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from src.deployment.graph import INPUT

CNN = ["Conv", "Clip", "Relu", "Add", "MaxPool", "AveragePool", "Concat"]
"""Operators that pass integers on to one another."""


def quantise(source: Path, target: Path, pictures: Sequence[UInt8[np.ndarray, "row column 3"]]) -> None:
    """Write `source` with 8-bit weights to `target`.

    Args:
        pictures: photographs of the kind to be captioned, as the graph reads them; 32 are enough, 1 is the least.
    """
    import onnx
    from onnxruntime import quantization

    class Pictures(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(pictures)

        def get_next(self) -> dict[str, np.ndarray] | None:
            picture = next(self.left, None)
            return None if picture is None else {INPUT: picture[None]}

    with tempfile.TemporaryDirectory() as folder, _without_advice():
        convolved = Path(folder) / "convolutions.onnx"
        quantization.quantize_static(
            source,
            convolved,
            Pictures(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=CNN,
            nodes_to_quantize=_before_the_grid(onnx.load(source).graph),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        quantization.quantize_dynamic(
            convolved,
            target,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=_without_weights(onnx.load(convolved).graph),
            per_channel=True,
            reduce_range=True,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True},
        )


@contextmanager
def _without_advice() -> Iterator[None]:
    """The quantiser recommends a preparation (folded batch norms, known shapes) that the exporter has done already."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _before_the_grid(graph: Any) -> list[str]:
    """The CNN's operators: those before the grid is rounded as the cache keeps it."""
    last = max(place for place, node in enumerate(graph.node) if node.op_type == "Conv")
    end = next(place for place, node in enumerate(graph.node) if place > last and node.op_type == "Cast")
    return [str(node.name) for node in graph.node[:end] if node.op_type in CNN]


def _without_weights(graph: Any) -> list[str]:
    """Matrix products of two results, or with a mere vector: nothing would be saved there."""
    matrices = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    nodes, names = list(graph.node), []
    for node in nodes:
        nodes += [inner for attribute in node.attribute for inner in attribute.g.node]  # the loop's body comes last
        if node.op_type == "MatMul" and node.input[1] not in matrices:
            names.append(str(node.name))
    return names
