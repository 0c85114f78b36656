"""Adds nodes to a GraphDef that say sizes by the batch size of an input, as it is fed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serialization.formats import dtypes
from serialization.graph.const_nodes import make_constant
from serialization.graph.graph_def import find_free_name
from serialization.tensorflow import np

_NAME = "batch_size"


class BatchNodes:
    """Makes nodes in a GraphDef; those that need the batch size share one node for it."""

    def __init__(self, graph_def: Any, source: str, dtype: int) -> None:
        """`source` is the tensor whose first axis is the batch, `dtype` its dtype number."""
        self._graph_def, self._source, self._dtype = graph_def, source, dtype
        self._names = {node.name for node in graph_def.node}
        self._batch = ""

    def add(self, stem: str, op: str, inputs: Sequence[str], **types: int) -> Any:
        """A new node, named after `stem`, with these dtype numbers as attributes."""
        node = self._graph_def.node.add(name=self._take_name(stem), op=op, input=inputs)
        for name, value in types.items():
            node.attr[name].type = value
        return node

    def add_array(self, stem: str, value: Any, dtype: int) -> str:
        """The name of a new constant."""
        node = self._graph_def.node.add()
        node.CopyFrom(make_constant(self._take_name(stem), value, dtype))
        return str(node.name)

    def add_sizes(self, stem: str, sizes: Any, dtype: int) -> str:
        """The name of a new constant of whole numbers: int32, or int64."""
        return self.add_array(f"{stem}/sizes", np.array(sizes, np.int64 if dtype == dtypes.INT64 else np.int32), dtype)

    def bind_constant(self, name: str, node: str) -> bool:
        """Have a new constant wait for a node: in a loop, all inputs of an op belong to it. False for no constant."""
        made = next(one for one in reversed(self._graph_def.node) if one.name == name)
        if made.op == "Const":
            made.input.append(f"^{node}")
        return bool(made.op == "Const")

    def add_batch(self, stem: str, times: int, dtype: int) -> str:
        """The name of a node that gives `times` the batch size, one number."""
        if not self._batch:
            shape = self.add(f"{_NAME}/shape", "Shape", [self._source], T=self._dtype, out_type=dtypes.INT32)
            ends = [self.add_sizes(f"{_NAME}/{name}", [value], dtypes.INT32) for name, value in _FIRST]
            size = self.add(_NAME, "StridedSlice", [shape.name, *ends], T=dtypes.INT32, Index=dtypes.INT32)
            size.attr["shrink_axis_mask"].i = 1
            self._batch = size.name
        result = self._batch
        if dtype != dtypes.INT32:
            result = self.add(f"{stem}/batch", "Cast", [result], SrcT=dtypes.INT32, DstT=dtype).name
        if times != 1:
            factor = self.add_sizes(f"{stem}/times", times, dtype)
            result = self.add(f"{stem}/batches", "Mul", [result, factor], T=dtype).name
        return str(result)

    def add_shape(self, stem: str, sizes: Sequence[int], axis: int, times: int, dtype: int) -> str:
        """The name of a node that gives these sizes, but at one axis `times` the batch size."""
        parts = [
            self.add_batch(stem, times, dtype) if place == axis else self.add_sizes(stem, size, dtype)
            for place, size in enumerate(sizes)
        ]
        node = self.add(f"{stem}/shape", "Pack", parts, T=dtype)
        node.attr["N"].i = len(parts)
        return str(node.name)

    def _take_name(self, stem: str) -> str:
        name = find_free_name(stem, self._names)
        self._names.add(name)
        return name


_FIRST = (("begin", 0), ("end", 1), ("strides", 1))
