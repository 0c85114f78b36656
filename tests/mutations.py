"""Changes a message that stays well-formed: its dtypes, shapes, attributes and names, its circles and its depths.

A damaged byte rarely gets past the protobuf parser or a checksum. What is changed here does, as what a careless or an
unkind writer wrote. The same case changes the same message in the same way.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from sstables import make_table

from serialization.formats import protos
from serialization.formats.sstable import read_sstable

_NUMBERS = (0, 1, 2, 7, 99, 101, 255, 1000, 100_000, 2**31 - 1, 2**40, 2**62, 2**63 - 1, -1, -2, -(2**31), -(2**63))
_STRINGS = (
    "",
    "^",
    "^x",
    ":",
    ":0",
    "x:0",
    "x:9",
    "x:99999999999",
    "a:b",
    "a:b:c",
    "x y",
    "\n",
    "\u2028",
    "ü",
    "/x",
    "x/",
)
_BYTES = (b"", b"\0", b"\xff", b"3 4 0,9:-", b"x", b"loc:@x", b"\x80" * 11)


def mutate_graph(data: bytes, case: int) -> bytes:
    """A GraphDef that was changed."""
    return _mutate(protos.GraphDef.FromString(data), case)


def mutate_meta_graph(data: bytes, case: int) -> bytes:
    """The same for a MetaGraphDef."""
    return _mutate(protos.MetaGraphDef.FromString(data), case)


def mutate_saved_model(data: bytes, case: int) -> bytes:
    """The same for a SavedModel."""
    return _mutate(protos.SavedModel.FromString(data), case)


def mutate_index(data: bytes, case: int) -> bytes:
    """The index of a checkpoint, of which entries were changed; the checksums are right."""
    generator = random.Random(case)
    pairs = list(read_sstable(data))
    for _ in range(generator.choice((1, 1, 2, 5))):
        position = generator.randrange(len(pairs))
        key, value = pairs[position]
        message = (protos.BundleEntryProto if key else protos.BundleHeaderProto).FromString(value)
        if generator.random() < 0.3:
            part = message.slices.add() if key else message
            for _ in range(generator.randrange(4) if key else 0):
                part.extent.add(start=generator.choice(_NUMBERS), length=generator.choice(_NUMBERS))
        else:
            _change(message, generator, [])
        pairs[position] = key, message.SerializeToString()
        if generator.random() < 0.1:
            pairs[position] = generator.choice((key + b"\xff", b"", key[:1])), pairs[position][1]
    return make_table(sorted(pairs))


def mutate_v1(data: bytes, case: int) -> bytes:
    """The same for a checkpoint of TensorFlow's first format, whose entries hold the values, too."""
    generator = random.Random(case)
    pairs = list(read_sstable(data))
    position = generator.choice((0, generator.randrange(len(pairs))))
    key, value = pairs[position]
    message = protos.SavedTensorSlices.FromString(value)
    for _ in range(generator.choice((1, 1, 3))):
        _change(message, generator, [])
    pairs[position] = key, message.SerializeToString()
    return make_table(pairs)


def _mutate(message: Any, case: int) -> bytes:
    generator = random.Random(case)
    meta_graphs = getattr(message, "meta_graphs", [message])
    graphs = [getattr(one, "graph_def", one) for one in meta_graphs]
    for _ in range(generator.choice((1, 1, 1, 2, 5))):
        graph_def = generator.choice(graphs)
        names = [node.name for node in graph_def.node]
        if generator.random() < 0.4:
            generator.choice(_GRAPH_CHANGES)(graph_def, generator)
        else:
            _change(generator.choice([message, graph_def, *graph_def.node]), generator, names)
    return bytes(message.SerializeToString())


def _change(message: Any, generator: random.Random, names: list[str]) -> None:
    """Change one field of a message, or of a message in it."""
    places = list(_list_places(message))
    if not places:
        return
    owner, field = generator.choice(places)
    value = getattr(owner, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key = generator.choice(sorted(value))
        if generator.random() < 0.5:
            other = generator.choice(sorted(value))
            if hasattr(value[key], "CopyFrom"):
                value[f"{key}_"].CopyFrom(value[other])
        del value[key]
    elif field.is_repeated:
        position = generator.randrange(len(value))
        how = generator.choice(("lose", "double", "change", "change"))
        if how == "lose":
            del value[position]
        elif how == "double" or field.message_type is not None:
            value.extend(value[position : position + 1])
        else:
            value[position] = _other_value(field, value[position], generator, names)
    elif field.message_type is not None:
        owner.ClearField(field.name)
    else:
        setattr(owner, field.name, _other_value(field, value, generator, names))


def _list_places(message: Any) -> Iterator[tuple[Any, Any]]:
    """Each field that is set, of the message and of the messages in it."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = [value[key] for key in sorted(value)]
        else:
            inner = list(value) if field.is_repeated else [value]
        for one in inner:
            if hasattr(one, "ListFields"):
                yield from _list_places(one)


def _other_value(field: Any, value: Any, generator: random.Random, names: list[str]) -> Any:
    if isinstance(value, str):
        return generator.choice([*_STRINGS, *generator.sample(names, min(len(names), 8))])
    if isinstance(value, bytes):
        return generator.choice([*_BYTES, value[: len(value) // 2], value + value])
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return generator.choice((float("nan"), float("inf"), -1.0, 0.0))
    least, most = {1: (-(2**31), 2**31 - 1), 3: (0, 2**32 - 1), 4: (0, 2**64 - 1), 8: (-(2**31), 2**31 - 1)}.get(
        field.cpp_type, (-(2**63), 2**63 - 1)
    )
    return generator.choice([number for number in _NUMBERS if least <= number <= most])


def _close_circle(graph_def: Any, generator: random.Random) -> None:
    """A node takes what is computed from it, or itself."""
    node, other = generator.choice(graph_def.node), generator.choice(graph_def.node)
    if node.input:
        node.input[generator.randrange(len(node.input))] = other.name


def _let_dangle(graph_def: Any, generator: random.Random) -> None:
    node = generator.choice(graph_def.node)
    node.input.append(generator.choice(("gone", "^gone", f"{node.name}:1", f"^{node.name}")))


def _double_node(graph_def: Any, generator: random.Random) -> None:
    graph_def.node.append(generator.choice(graph_def.node))


def _swap_op(graph_def: Any, generator: random.Random) -> None:
    others = (
        "Const",
        "Placeholder",
        "VarHandleOp",
        "PartitionedCall",
        "While",
        "Merge",
        "RestoreV2",
        "HashTableV2",
        "Unpack",
    )
    generator.choice(graph_def.node).op = generator.choice((*others, *(node.op for node in graph_def.node)))


def _nest_functions(graph_def: Any, generator: random.Random) -> None:
    """Functions that call the next, up to some depth; the last may call the first."""
    depth = generator.choice((1, 30, 400, 4000))
    for number in range(depth):
        function = graph_def.library.function.add()
        function.signature.name = f"nested{number}"
        function.signature.input_arg.add(name="a", type=1)
        function.signature.output_arg.add(name="o", type=1)
        last = number == depth - 1
        call = function.node_def.add(name="call", op="Identity" if last else f"nested{number + 1}", input=["a"])
        if last and generator.random() < 0.5:
            call.op = "nested0"
        elif last:
            call.attr["T"].type = 1
        function.ret["o"] = "call:output:0" if call.op == "Identity" else "call:o:0"
    source = generator.choice(graph_def.node).name
    graph_def.node.add(name="nested", op="nested0", input=[source])


def _swap_functions(graph_def: Any, generator: random.Random) -> None:
    """A call goes to another function, which may take other arguments."""
    functions = [function.signature.name for function in graph_def.library.function]
    calls = [value.func for node in graph_def.node for value in node.attr.values() if value.HasField("func")]
    if functions and calls:
        generator.choice(calls).name = generator.choice([*functions, "gone", ""])


_GRAPH_CHANGES = (_close_circle, _let_dangle, _double_node, _swap_op, _nest_functions, _swap_functions)
