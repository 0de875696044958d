"""Tables that a graph looks up by an index of its own: relative position biases.

Compiling folds such a lookup into what it finds, which for HAT is 128 MiB of biases, with masks,
from 1 MiB of tables. Fed as an input the index is not known to the compiler, and the biases of a
layer are there while that layer runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as opset

__all__ = ["feed_lookups", "fix_lookups"]

# What a lookup finds, from which on it is worth an input.
_WORTH_FEEDING = 2**15


def feed_lookups(graph: ov.Model) -> list[NDArray[Any]]:
    """Make the index of every large lookup an input, after those that are there.

    Returns:
        What to feed them.
    """
    # Names of what depends on no input.
    fixed: set[str] = set()
    indices: dict[bytes, NDArray[Any]] = {}
    parameters: dict[bytes, ov.Node] = {}
    for op in graph.get_ordered_ops():
        sources = [port.get_source_output().get_node() for port in op.inputs()]
        kind = op.get_type_name()
        if kind == "Parameter" or not fixed.issuperset(source.get_name() for source in sources):
            continue
        if kind != "Gather" or not _is_worth_feeding(op):
            fixed.add(op.get_name())
            continue
        index = np.array(sources[1].get_data())
        key = index.tobytes()
        if key not in parameters:
            indices[key] = index
            parameters[key] = opset.parameter(list(index.shape), index.dtype)
        op.input(1).replace_source_output(parameters[key].output(0))
    graph.add_parameters(list(parameters.values()))
    graph.validate_nodes_and_infer_types()
    return list(indices.values())


def fix_lookups(graph: ov.Model, indices: Sequence[NDArray[Any]]) -> None:
    """Make the last inputs constants: the inverse of `feed_lookups`."""
    parameters = graph.get_parameters()
    for parameter, index in zip(parameters[len(parameters) - len(indices) :], indices, strict=True):
        constant = opset.constant(index)
        for port in parameter.output(0).get_target_inputs():
            port.replace_source_output(constant.output(0))
        graph.remove_parameter(parameter)
    graph.validate_nodes_and_infer_types()


def _is_worth_feeding(lookup: ov.Node) -> bool:
    """Whether it finds much, more than the table holds, by an index that lies in the graph."""
    if lookup.input_value(1).get_node().get_type_name() != "Constant":
        return False
    table, found = lookup.input_value(0).get_partial_shape(), lookup.output(0).get_partial_shape()
    if table.is_dynamic or found.is_dynamic:
        return False
    size: int = math.prod(found.to_shape())
    held: int = math.prod(table.to_shape())
    return size >= _WORTH_FEEDING and size > held
