"""Adds nodes to a GraphDef that say sizes by the batch size of an input, as it is fed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serialization.formats import dtypes
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_rows import Rows
from serialization.graph.const_nodes import make_constant
from serialization.graph.graph_def import find_free_name, get_node_name
from serialization.tensorflow import np

_NAME = "batch_size"


class BatchNodes:
    """Makes nodes in a GraphDef; those that need the batch size share one node for it."""

    def __init__(self, graph_def: Any, source: str, dtype: int, how: BatchAxis) -> None:
        """`source` is the tensor an axis of which holds the batch, `dtype` its dtype number."""
        self.graph_def = graph_def
        self._source, self._dtype, self._how = source, dtype, how
        self._names = {node.name for node in graph_def.node}
        self._batch = ""
        self.shared: list[str] = []  # the nodes that give the batch size
        # Nodes that leave a size open, by name, as they are with the old batch size and with another one.
        self.shown: dict[str, tuple[Any, Any]] = {}
        self._entered: dict[tuple[str, tuple[str, ...]], str] = {}

    def show(self, node: Any, *, old: bool) -> Any:
        """A node as it is with the old batch size, or with another one."""
        return self.shown.get(node.name, (node, node))[0 if old else 1]

    def add(self, stem: str, op: str, inputs: Sequence[str], **types: int) -> Any:
        """A new node, named after `stem`, with these dtype numbers as attributes."""
        node = self.graph_def.node.add(name=self._take_name(stem), op=op, input=inputs)
        for name, value in types.items():
            node.attr[name].type = value
        return node

    def add_array(self, stem: str, value: Any, dtype: int) -> str:
        """The name of a new constant."""
        node = self.graph_def.node.add()
        node.CopyFrom(make_constant(self._take_name(stem), value, dtype))
        return str(node.name)

    def add_sizes(self, stem: str, sizes: Any, dtype: int) -> str:
        """The name of a new constant of whole numbers: int32, or int64."""
        return self.add_array(f"{stem}/sizes", np.array(sizes, np.int64 if dtype == dtypes.INT64 else np.int32), dtype)

    def bind_constant(self, name: str, node: str) -> bool:
        """Have a new constant wait for a node: in a loop, all inputs of an op belong to it. False for no constant."""
        made = next(one for one in reversed(self.graph_def.node) if one.name == name)
        if made.op == "Const":
            made.input.append(f"^{node}")
        return bool(made.op == "Const")

    def add_batch(self, stem: str, times: int, dtype: int) -> str:
        """The name of a node that gives `times` the batch size, one number."""
        if not self._batch:
            count = len(self.graph_def.node)
            shape = self.add(f"{_NAME}/shape", "Shape", [self._source], T=self._dtype, out_type=dtypes.INT32)
            places = (("begin", self._how.axis), ("end", self._how.axis + 1), ("strides", 1))
            ends = [self.add_sizes(f"{_NAME}/{name}", [value], dtypes.INT32) for name, value in places]
            size = self.add(_NAME, "StridedSlice", [shape.name, *ends], T=dtypes.INT32, Index=dtypes.INT32)
            size.attr["shrink_axis_mask"].i = 1
            self._batch = size.name
            if self._how.times != 1:
                part = self.add_sizes(f"{_NAME}/part", self._how.times, dtypes.INT32)
                self._batch = self.add(f"{_NAME}/batches", "FloorDiv", [size.name, part], T=dtypes.INT32).name
            self.shared = [node.name for node in self.graph_def.node[count:]]
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

    def add_rows(self, stem: str, rows: Rows, dtype: int) -> str:
        """The name of a node that gives as many rows as the batch has."""
        how, shape = rows.how, rows.first.shape
        before, behind = shape[: how.axis], shape[how.axis + 3 :]
        if rows.step is None and how.outer == 1:
            first = self.add_array(f"{stem}/row", rows.first.reshape(*before, how.inner, *behind), dtype)
            return self._add_tile(stem, first, how.axis, len(shape) - 2, dtype)
        first = self.add_array(f"{stem}/row", rows.first, dtype)
        if rows.step is None:
            made = self._add_tile(stem, first, how.axis + 1, len(shape), dtype)
        else:
            ends = [self.add_sizes(f"{stem}/{name}", value, dtype) for name, value in (("start", 0), ("delta", 1))]
            limit = self.add_batch(stem, 1, dtype)
            numbers = self.add(f"{stem}/range", "Range", [ends[0], limit, ends[1]], Tidx=dtype).name
            numbers = self._add_reshape(f"{stem}/numbers", numbers, [-1, 1, *[1] * len(behind)], dtype)
            step = self.add_array(f"{stem}/step", rows.step, dtype)
            steps = self.add(f"{stem}/steps", "Mul", [numbers, step], T=dtype)
            made = self.add(f"{stem}/rows", "AddV2", [steps.name, first], T=dtype).name
        return self._add_reshape(stem, made, [*before, -1, *behind], dtype)

    def _add_tile(self, stem: str, edge: str, axis: int, rank: int, dtype: int) -> str:
        repeats = self.add_shape(stem, [1] * rank, axis, 1, dtypes.INT32)
        return str(self.add(f"{stem}/rows", "Tile", [edge, repeats], T=dtype, Tmultiples=dtypes.INT32).name)

    def _add_reshape(self, stem: str, edge: str, sizes: Sequence[int], dtype: int) -> str:
        shape = self.add_sizes(stem, sizes, dtypes.INT32)
        return str(self.add(f"{stem}/reshape", "Reshape", [edge, shape], T=dtype, Tshape=dtypes.INT32).name)

    def add_entered(self, edge: str, frames: Sequence[str], dtype: int) -> str:
        """The name of a node that gives in a loop, which may be in others, what a new node gives outside of it."""
        for depth, frame in enumerate(frames, 1):
            place = (edge, tuple(frames[:depth]))
            if place not in self._entered:
                node = self.add(f"{get_node_name(edge)}/enter", "Enter", [edge], T=dtype)
                node.attr["frame_name"].s = frame.encode()
                node.attr["is_constant"].b = True
                self._entered[place] = node.name
            edge = self._entered[place]
        return edge

    def _take_name(self, stem: str) -> str:
        name = find_free_name(stem, self._names)
        self._names.add(name)
        return name
