"""Models that do harm where TensorFlow's plain calls load or run them, for tests/checks/test_harm.py.

Each function makes a model below `folder` and returns its path. Its harm is one of `Effects`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import Ran

from serialization.formats import protos
from serialization.tensorflow import tf, tf1


@dataclass(frozen=True)
class Effects:
    """The traces of harm: a file that is written, a secret that is read, an address that is connected to."""

    written: Path
    secret: Path
    address: str


def require_no_effect(effects: Effects, done: Ran) -> None:
    assert not list(effects.written.parent.glob("written*"))
    assert "SECRET" not in done.stdout + done.stderr


Make = Callable[[Path, Effects], Path]
FROZEN: list[Make] = []
SAVED_MODELS: list[Make] = []


def frozen(make: Make) -> Make:
    FROZEN.append(make)
    return make


def saved_model(make: Make) -> Make:
    SAVED_MODELS.append(make)
    return make


def write_graph(folder: Path, graph_def: Any) -> Path:
    (folder / "m.pb").write_bytes(graph_def.SerializeToString())
    return folder / "m.pb"


def write_saved_model(folder: Path, *meta_graphs: Any) -> Path:
    (folder / "sm").mkdir(exist_ok=True)
    message = protos.SavedModel(saved_model_schema_version=1, meta_graphs=meta_graphs)
    (folder / "sm" / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder / "sm"


def make_meta_graph(
    graph: Any,
    outputs: Iterable[Any],
    inputs: Iterable[Any] = (),
    init: Any = None,
    assets: Mapping[str, str] | None = None,
) -> Any:
    """The MetaGraphDef of a graph with a signature, an init op, and the filenames of assets by their tensors."""
    meta_graph = tf1.train.export_meta_graph(graph=graph)
    meta_graph.meta_info_def.tags.append("serve")
    infos = [{t.op.name: tf1.saved_model.build_tensor_info(t) for t in side} for side in (inputs, outputs)]
    meta_graph.signature_def["serving_default"].CopyFrom(tf1.saved_model.build_signature_def(*infos, "predict"))
    if init is not None:
        meta_graph.collection_def["saved_model_main_op"].node_list.value.append(init.name)
    for tensor, filename in (assets or {}).items():
        meta_graph.asset_file_def.add(filename=filename).tensor_info.name = tensor
    return meta_graph


def write_asset(folder: Path) -> str:
    (folder / "sm" / "assets").mkdir(parents=True)
    (folder / "sm" / "assets" / "words.txt").write_text("honest\n")
    return "words.txt"


def export_module(folder: Path, function: Any, *specs: Any, **tracked: Any) -> Any:
    """The MetaGraphDef of a function as tf.saved_model.save writes it; the asset words.txt is tracked as `asset`."""
    (folder / "words.txt").write_text("honest\n")
    module = tf.Module()
    module.asset = tf.saved_model.Asset(str(folder / "words.txt"))
    for name, value in tracked.items():
        setattr(module, name, value)
    tf.saved_model.save(module, str(folder / "sm"), signatures=tf.function(lambda *a: function(module, *a), specs))
    return protos.SavedModel.FromString((folder / "sm" / "saved_model.pb").read_bytes()).meta_graphs[0]


def read_asset(module: Any) -> Any:
    """A function for `export_module`: the content of the asset."""
    return {"y": tf.io.read_file(module.asset.asset_path)}


def find_node(graph_def: Any, op: str, name: str = "") -> Any:
    """The first node of an op, in the graph or in a function."""
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    return next(node for node in nodes if node.op == op and name in node.name)


def find_asset_value(graph_def: Any) -> str:
    """The name of the node whose value, an asset's path, is given to a function."""
    reads = {node.name for node in graph_def.node if node.op == "ReadVariableOp"}
    calls = (node for node in graph_def.node if node.op.endswith("PartitionedCall"))
    return str(next(name for call in calls for name in call.input if name in reads))


def make_node(name: str, op: str, inputs: Iterable[str] = (), **attributes: Any) -> Any:
    """A NodeDef; a string makes an attribute of bytes, a number one of a dtype, another message is taken as it is."""
    node = protos.NodeDef(name=name, op=op, input=inputs)
    for key, value in attributes.items():
        node.attr[key].CopyFrom(
            protos.AttrValue(s=value.encode())
            if isinstance(value, str)
            else protos.AttrValue(type=value)
            if isinstance(value, int)
            else value
        )
    return node


def make_strings(name: str, *values: str) -> Any:
    tensor = tf1.make_tensor_proto(list(values) if len(values) > 1 else values[0])
    return make_node(name, "Const", dtype=7, value=protos.AttrValue(tensor=tensor))


def make_call(name: str, function: str, inputs: Iterable[str], types: int, **attributes: Any) -> Any:
    """A PartitionedCall of `types` strings to one."""
    node = make_node(name, "PartitionedCall", inputs)
    node.attr["Tin"].list.type.extend([7] * types)
    node.attr["Tout"].list.type.append(7)
    node.attr["f"].func.name = function
    for key, value in attributes.items():
        node.attr["f"].func.attr[key].CopyFrom(value)
    return node


def add_function(graph_def: Any, name: str, arguments: Iterable[str], result: str, *body: Any) -> Any:
    """Add a function of strings to one string."""
    function = graph_def.library.function.add()
    function.signature.name = name
    for argument in arguments:
        function.signature.input_arg.add(name=argument, type=7)
    function.signature.output_arg.add(name="out", type=7)
    function.node_def.extend(body)
    function.ret["out"] = result
    return function


def write_strings(folder: Path, *nodes: Any, edit: Callable[[Any], Any] = lambda graph_def: None) -> Path:
    """A frozen graph of nodes, of which `y` is a string."""
    graph_def = protos.GraphDef(node=nodes)
    graph_def.versions.producer = 1882
    edit(graph_def)
    return write_graph(folder, graph_def)


def add_up(dataset: Any) -> Any:
    return dataset.reduce(tf.constant(0, tf.int64), lambda a, b: a + b)


def cached(name: str) -> Any:
    """A GraphDef whose output `y` runs through a dataset with a cache of this name."""
    with tf1.Graph().as_default() as graph:
        tf.identity(add_up(tf.data.Dataset.range(3).cache(name)), name="y")
    return graph.as_graph_def()


# Frozen graphs.


@frozen
def write_behind_a_control_edge(folder: Path, effects: Effects) -> Path:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None], name="x")
        with tf.control_dependencies([tf.io.write_file(str(effects.written), "harm")]):
            tf.identity(x * 2.0, name="y")
    return write_graph(folder, graph.as_graph_def())


@frozen
def print_to_a_file_that_the_caller_names(folder: Path, effects: Effects) -> Path:
    """An attribute of a node in a function may stand for an attribute of the call."""
    stream = protos.AttrValue(s=f"file://{effects.written}".encode())
    printing = make_node("print", "PrintV2", ["a"], output_stream=protos.AttrValue(placeholder="stream"))
    give_back = make_node("b", "Identity", ["a", "^print"], T=7)
    nodes = make_strings("x", "harm"), make_call("y", "f", ["x"], 1, stream=stream)

    def edit(graph_def: Any) -> None:
        function = add_function(graph_def, "f", ["a"], "b:output:0", printing, give_back)
        function.signature.attr.add(name="stream", type="string")
        function.signature.is_stateful = True
        graph_def.node[1].op = "StatefulPartitionedCall"

    return write_strings(folder, *nodes, edit=edit)


@frozen
def debug_to_a_file_that_the_caller_names(folder: Path, effects: Effects) -> Path:
    urls = protos.AttrValue(list=protos.AttrValue.ListValue(s=[f"file://{effects.written}".encode()]))
    debug = make_node(
        "b", "DebugIdentity", ["a"], T=7, debug_urls=protos.AttrValue(placeholder="urls"), tensor_name="a:0"
    )
    nodes = make_strings("x", "harm"), make_call("y", "f", ["x"], 1, urls=urls)

    def edit(graph_def: Any) -> None:
        function = add_function(graph_def, "f", ["a"], "b:output:0", debug)
        function.signature.attr.add(name="urls", type="list(string)")

    return write_strings(folder, *nodes, edit=edit)


@frozen
def sample_from_a_file_that_the_caller_names(folder: Path, effects: Effects) -> Path:
    with tf1.Graph().as_default() as graph:

        def sample(classes: Any) -> Any:
            return tf.random.fixed_unigram_candidate_sampler(classes, 1, 4, True, 4, unigrams=[1.0] * 4)[0]

        tf.identity(tf.function(sample)(tf.constant([[1]], tf.int64)), name="y")
    graph_def = graph.as_graph_def()
    sampler = find_node(graph_def, "FixedUnigramCandidateSampler")
    sampler.attr["vocab_file"].placeholder = "words"
    del sampler.attr["unigrams"]
    graph_def.library.function[0].signature.attr.add(name="words", type="string")
    call = find_node(graph_def, "StatefulPartitionedCall")
    call.attr["f"].func.attr["words"].s = str(effects.secret).encode()
    return write_graph(folder, graph_def)


@frozen
def a_cache_named_by_packed_strings(folder: Path, effects: Effects) -> Path:
    """TensorFlow reads `tensor_content` where there are both."""
    graph_def = cached("")
    tensor = (
        next(n for n in graph_def.node if n.op == "Const" and n.attr["value"].tensor.string_val).attr["value"].tensor
    )
    name = str(effects.written).encode()
    tensor.tensor_content = bytes([len(name)]) + name
    return write_graph(folder, graph_def)


@frozen
def a_cache_named_by_a_loop(folder: Path, effects: Effects) -> Path:
    """The first value of the loop's variable is harmless; its body returns another."""
    with tf1.Graph().as_default() as graph:

        def loop() -> Any:
            def step(i: Any, name: Any, total: Any) -> Any:
                return i + 1, tf.constant(str(effects.written)), total + add_up(tf.data.Dataset.range(3).cache(name))

            first = (tf.constant(0), tf.constant(""), tf.constant(0, tf.int64))
            return tf.while_loop(lambda i, name, total: i < 2, step, first)[2]

        tf.identity(tf.function(loop)(), name="y")
    return write_graph(folder, graph.as_graph_def())


@frozen
def a_cache_named_by_what_is_fed(folder: Path, effects: Effects) -> Path:
    graph_def = cached("")
    find_node(graph_def, "CacheDataset").input[1] = "x"
    shape = protos.AttrValue(shape=tf.TensorShape([]).as_proto())
    graph_def.node.add().CopyFrom(make_node("x", "PlaceholderWithDefault", ["name"], dtype=7, shape=shape))
    graph_def.node.add().CopyFrom(make_strings("name", str(effects.written)))
    return write_graph(folder, graph_def)


@frozen
def a_cache_named_by_arithmetic(folder: Path, effects: Effects) -> Path:
    graph_def = cached("")
    find_node(graph_def, "CacheDataset").input[1] = "joined"
    graph_def.node.add().CopyFrom(make_strings("one", str(effects.written)))
    graph_def.node.add().CopyFrom(make_node("joined", "StringJoin", ["one"], N=protos.AttrValue(i=1)))
    return write_graph(folder, graph_def)


@frozen
def a_constant_that_the_caller_gives(folder: Path, effects: Effects) -> Path:
    with tf1.Graph().as_default() as graph:

        def total() -> Any:
            return add_up(tf.data.Dataset.range(3).cache(""))

        tf.identity(tf.function(total)(), name="y")
    graph_def = graph.as_graph_def()
    holder = next(f for f in graph_def.library.function if any(n.op == "CacheDatasetV2" for n in f.node_def))
    cache = next(node for node in holder.node_def if node.op == "CacheDatasetV2")
    name = next(node for node in holder.node_def if node.name == cache.input[1].partition(":")[0])
    name.attr["value"].placeholder = "name"
    holder.signature.attr.add(name="name", type="tensor")
    call = find_node(graph_def, "StatefulPartitionedCall")
    call.attr["f"].func.attr["name"].tensor.CopyFrom(tf1.make_tensor_proto(str(effects.written)))
    return write_graph(folder, graph_def)


def _table(folder: Path, name: str) -> Path:
    """A table that is filled from a file of this name."""
    with tf1.Graph().as_default() as graph:
        source = tf.lookup.TextFileInitializer(name, tf.string, -2, tf.int64, -1)
        words = tf1.placeholder(tf.string, [None], name="x")
        tf.identity(tf.lookup.StaticHashTable(source, -1).lookup(words), name="y")
    return write_graph(folder, graph.as_graph_def())


@frozen
def a_vocabulary_by_file_scheme(folder: Path, effects: Effects) -> Path:
    return _table(folder, f"file://{effects.secret}")


@frozen
def a_vocabulary_in_the_cloud(folder: Path, effects: Effects) -> Path:
    return _table(folder, "gs://bucket/words.txt")


@frozen
def a_vocabulary_on_a_server(folder: Path, effects: Effects) -> Path:
    return _table(folder, f"http://{effects.address}/words.txt")


@frozen
def a_vocabulary_behind_a_link(folder: Path, effects: Effects) -> Path:
    (folder / "words.txt").symlink_to(effects.secret)
    return _table(folder, str(folder / "words.txt"))


@frozen
def a_vocabulary_that_is_a_pipe(folder: Path, effects: Effects) -> Path:
    os.mkfifo(folder / "words.txt")
    return _table(folder, str(folder / "words.txt"))


@frozen
def a_file_read_in_a_function_of_a_function(folder: Path, effects: Effects) -> Path:
    def edit(graph_def: Any) -> None:
        add_function(graph_def, "f", ["a"], "b:contents:0", make_node("b", "ReadFile", ["a"]))
        add_function(graph_def, "g", ["a"], "b:output:0", make_call("b", "f", ["a"], 1))
        graph_def.library.function[1].ret["out"] = "b:output:0"

    return write_strings(folder, make_strings("x", str(effects.secret)), make_call("y", "g", ["x"], 1), edit=edit)


@frozen
def a_second_function_of_the_same_name(folder: Path, effects: Effects) -> Path:
    """TensorFlow takes the first."""

    def edit(graph_def: Any) -> None:
        add_function(graph_def, "f", ["a"], "b:contents:0", make_node("b", "ReadFile", ["a"]))
        add_function(graph_def, "f", ["a"], "b:output:0", make_node("b", "Identity", ["a"], T=7))

    return write_strings(folder, make_strings("x", str(effects.secret)), make_call("y", "f", ["x"], 1), edit=edit)


@frozen
def a_file_read_through_a_branch(folder: Path, effects: Effects) -> Path:
    with tf1.Graph().as_default() as graph:
        flag = tf1.placeholder(tf.bool, [], name="x")
        secret = str(effects.secret)
        tf.identity(tf.cond(flag, lambda: tf.io.read_file(secret), lambda: tf.io.read_file(secret + "")), name="y")
    return write_graph(folder, graph.as_graph_def())


@frozen
def a_directory_that_is_listed(folder: Path, effects: Effects) -> Path:
    files = make_node("y", "MatchingFiles", ["x"])
    return write_strings(folder, make_strings("x", f"{effects.secret.parent}/*"), files)


@frozen
def a_file_mapped_as_a_constant(folder: Path, effects: Effects) -> Path:
    shape = protos.AttrValue(shape=tf.TensorShape([8]).as_proto())
    return write_strings(
        folder, make_node("y", "ImmutableConst", dtype=4, shape=shape, memory_region_name=str(effects.secret))
    )


@frozen
def a_dataset_of_a_file(folder: Path, effects: Effects) -> Path:
    with tf1.Graph().as_default() as graph:
        lines = tf.data.TextLineDataset(str(effects.secret))
        tf.identity(lines.reduce("", lambda a, b: a + b), name="y")
    return write_graph(folder, graph.as_graph_def())


@frozen
def a_summary_writer(folder: Path, effects: Effects) -> Path:
    number = make_node("n", "Const", dtype=3, value=protos.AttrValue(tensor=tf1.make_tensor_proto(1)))
    return write_strings(
        folder,
        number,
        make_strings("x", str(effects.written)),
        make_node("writer", "SummaryWriter"),
        make_node("create", "CreateSummaryFileWriter", ["writer", "x", "n", "n", "x"]),
        make_node("y", "Identity", ["x", "^create"], T=7),
    )


@frozen
def a_gradient_that_writes(folder: Path, effects: Effects) -> Path:
    """SymbolicGradient runs the gradient that the library records for a function."""
    nodes = [
        make_strings("path", str(effects.written)),
        make_node("write", "WriteFile", ["path:output:0", "path:output:0"]),
        make_node("back", "Identity", ["dy", "^write"], T=1),
    ]
    graph_def = protos.GraphDef()
    graph_def.versions.producer = 1882
    for name, arguments, body in (("f", ["a"], [make_node("back", "Identity", ["a"], T=1)]), ("g", ["a", "dy"], nodes)):
        function = graph_def.library.function.add()
        function.signature.name = name
        for argument in arguments:
            function.signature.input_arg.add(name=argument, type=1)
        function.signature.output_arg.add(name="out", type=1)
        function.node_def.extend(body)
        function.ret["out"] = "back:output:0"
    graph_def.library.gradient.add(function_name="f", gradient_func="g")
    graph_def.node.add().CopyFrom(make_node("x", "Placeholder", dtype=1))
    gradient = make_node("y", "SymbolicGradient", ["x", "x"])
    gradient.attr["Tin"].list.type.extend([1, 1])
    gradient.attr["Tout"].list.type.append(1)
    gradient.attr["f"].func.name = "f"
    graph_def.node.add().CopyFrom(gradient)
    return write_graph(folder, graph_def)


def write_stablehlo(folder: Path, module: bytes) -> Path:
    """A frozen graph that calls a compiled module on a vector of two numbers."""
    shape = tf.TensorShape([2]).as_proto()
    lists = {
        "Sout": protos.AttrValue.ListValue(shape=[shape]),
        "Tout": protos.AttrValue.ListValue(type=[1]),
        "Tin": protos.AttrValue.ListValue(type=[1]),
        "platforms": protos.AttrValue.ListValue(s=[b"CPU"]),
    }
    attributes = {key: protos.AttrValue(list=value) for key, value in lists.items()}
    called = make_node("called", "XlaCallModule", ["x"], version=protos.AttrValue(i=5), **attributes)
    called.attr["module"].s = module
    x = make_node("x", "Placeholder", dtype=1, shape=protos.AttrValue(shape=shape))
    return write_strings(folder, x, called, make_node("y", "Identity", ["called"], T=1))


@frozen
def compiled_code_in_text(folder: Path, effects: Effects) -> Path:
    """The text form may escape the name of an op."""
    module = (
        'module { func.func public @main(%0: tensor<2xf32>) -> tensor<2xf32> { %1 = "stablehlo.cus\\74om_call"(%0) '
        '{call_target_name = "system"} : (tensor<2xf32>) -> tensor<2xf32> return %1 : tensor<2xf32> } }'
    )
    return write_stablehlo(folder, module.encode())


# SavedModels.


@saved_model
def an_init_op_that_writes(folder: Path, effects: Effects) -> Path:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        write = tf.io.write_file(str(effects.written), "harm")
        return write_saved_model(folder, make_meta_graph(graph, [x * 2.0], [x], write))


@saved_model
def an_inferred_output_that_writes(folder: Path, effects: Effects) -> Path:
    """It has no signature."""
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        with tf.control_dependencies([tf.io.write_file(str(effects.written), "harm")]):
            meta_graph = make_meta_graph(graph, [tf.multiply(x, 2.0, name="y")])
    del meta_graph.signature_def["serving_default"]
    return write_saved_model(folder, meta_graph)


@saved_model
def two_meta_graphs_of_the_same_tags(folder: Path, effects: Effects) -> Path:
    made = []
    for harmful in (True, False):
        with tf1.Graph().as_default() as graph:
            x = tf1.placeholder(tf.float32, [None, 4], name="x")
            init = tf.io.write_file(str(effects.written), "harm") if harmful else tf.no_op()
            made.append(make_meta_graph(graph, [x * 2.0], [x], init))
    return write_saved_model(folder, *made)


@saved_model
def an_asset_outside_of_the_init_op(folder: Path, effects: Effects) -> Path:
    """There the constant's own value counts, not the asset's path."""
    with tf1.Graph().as_default() as graph:
        path = tf.constant(str(effects.secret), name="path")
        read = tf.io.read_file(path)
        return write_saved_model(folder, make_meta_graph(graph, [read], assets={"path:0": write_asset(folder)}))


@saved_model
def an_asset_read_by_init_op_and_signature(folder: Path, effects: Effects) -> Path:
    with tf1.Graph().as_default() as graph:
        path = tf.constant(str(effects.secret), name="path")
        read = tf.io.read_file(path)
        meta_graph = make_meta_graph(graph, [read], init=tf.group(read), assets={"path:0": write_asset(folder)})
        return write_saved_model(folder, meta_graph)


@saved_model
def an_asset_that_a_caller_feeds(folder: Path, effects: Effects) -> Path:
    """The signature's input is the variable's value."""
    meta_graph = export_module(folder, read_asset)
    info = meta_graph.signature_def["serving_default"].inputs["path"]
    info.name, info.dtype = f"{find_asset_value(meta_graph.graph_def)}:0", 7
    return write_saved_model(folder, meta_graph)


@saved_model
def a_cache_beside_an_asset(folder: Path, effects: Effects) -> Path:
    def count(module: Any) -> Any:
        return {"y": add_up(tf.data.Dataset.range(3).cache(module.asset.asset_path))}

    return write_saved_model(folder, export_module(folder, count))


@saved_model
def a_folder_of_assets_that_is_a_link(folder: Path, effects: Effects) -> Path:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.string, [None], name="x")
        source = tf.lookup.TextFileInitializer("words.txt", tf.string, -2, tf.int64, -1)
        y = tf.lookup.StaticHashTable(source, -1).lookup(x)
        initializer = next(op for op in graph.get_operations() if op.type == "InitializeTableFromTextFileV2")
        assets = {initializer.inputs[1].name: effects.secret.name}
        meta_graph = make_meta_graph(graph, [y], [x], initializer, assets)
    (folder / "sm").mkdir()
    (folder / "sm" / "assets").symlink_to(effects.secret.parent)
    return write_saved_model(folder, meta_graph)


@saved_model
def a_second_handle_of_an_assets_variable(folder: Path, effects: Effects) -> Path:
    return _second_assignment(folder, effects, second_handle=True)


@saved_model
def a_second_assignment_of_an_assets_variable(folder: Path, effects: Effects) -> Path:
    return _second_assignment(folder, effects, second_handle=False)


def _second_assignment(folder: Path, effects: Effects, *, second_handle: bool) -> Path:
    meta_graph = export_module(folder, read_asset)
    graph_def = meta_graph.graph_def
    handle = find_node(graph_def, "AssignVariableOp").input[0]
    if second_handle:
        first = next(node for node in graph_def.node if node.name == handle)
        other = graph_def.node.add()
        other.CopyFrom(first)
        other.name = handle = "other"
        other.attr["shared_name"].s = first.attr["shared_name"].s or first.name.encode()
    graph_def.node.append(make_strings("evil", str(effects.secret)))
    graph_def.node.append(make_node("again", "AssignVariableOp", [handle, "evil"], dtype=7))
    next(node for node in graph_def.node if node.name == find_asset_value(graph_def)).input.append("^again")
    return write_saved_model(folder, meta_graph)


@saved_model
def a_handle_of_an_assets_variable_made_from_bytes(folder: Path, effects: Effects) -> Path:
    meta_graph = export_module(folder, read_asset)
    forged = make_node("forged", "ParseTensor", ["bytes"], out_type=20)
    meta_graph.graph_def.node.extend([make_strings("bytes", "a TensorProto of the handle"), forged])
    return write_saved_model(folder, meta_graph)


@saved_model
def an_argument_after_a_list(folder: Path, effects: Effects) -> Path:
    """The list takes two of the inputs, so the last argument is not the second input."""

    def edit(graph_def: Any) -> None:
        read = make_node("b", "ReadFile", ["q"])
        function = add_function(graph_def, "listed", ["p", "q"], "b:contents:0", read)
        function.signature.input_arg[0].number_attr = "N"

    return _call_with_asset(folder, effects, "listed", edit, ["evil", "ASSET", "evil"], N=protos.AttrValue(i=2))


@saved_model
def an_element_of_a_list_named_like_a_node(folder: Path, effects: Effects) -> Path:
    """`p:0` is the first element of the list, not the output of the node p."""

    def edit(graph_def: Any) -> None:
        body = make_node("b", "ReadFile", ["p:0"]), make_strings("p", "")
        function = add_function(graph_def, "listed", ["p"], "b:contents:0", *body)
        function.signature.input_arg[0].number_attr = "N"

    return _call_with_asset(folder, effects, "listed", edit, ["evil", "ASSET"], N=protos.AttrValue(i=2))


@saved_model
def a_function_called_with_an_asset_and_another_file(folder: Path, effects: Effects) -> Path:
    def edit(graph_def: Any) -> None:
        add_function(graph_def, "read", ["p"], "b:contents:0", make_node("b", "ReadFile", ["p"]))
        graph_def.node.append(make_call("first", "read", [find_asset_value(graph_def)], 1))

    return _call_with_asset(folder, effects, "read", edit, ["evil", "^first"])


@saved_model
def one_of_two_inputs_is_an_asset(folder: Path, effects: Effects) -> Path:
    def edit(graph_def: Any) -> None:
        choose = make_node(
            "c", "IdentityN", ["p", "q"], T=protos.AttrValue(list=protos.AttrValue.ListValue(type=[7, 7]))
        )
        read = make_node("b", "ReadFile", ["c:output:1"])
        add_function(graph_def, "read", ["p", "q"], "b:contents:0", choose, read)

    return _call_with_asset(folder, effects, "read", edit, ["ASSET", "evil"])


def _call_with_asset(
    folder: Path, effects: Effects, function: str, edit: Callable[[Any], None], inputs: list[str], **attributes: Any
) -> Path:
    """A signature whose output calls a function on the value of an asset's variable, ASSET, and on a constant, evil."""
    meta_graph = export_module(folder, lambda module: {"y": tf.strings.length(module.asset.asset_path)})
    graph_def = meta_graph.graph_def
    edit(graph_def)
    taken = [name.replace("ASSET", find_asset_value(graph_def)) for name in inputs]
    graph_def.node.append(make_strings("evil", str(effects.secret)))
    count = sum(not name.startswith("^") for name in taken)
    by_name = make_node("answer", function, taken, **attributes)  # only a call by name takes lists
    graph_def.node.append(by_name if attributes else make_call("answer", function, taken, count))
    info = meta_graph.signature_def["serving_default"].outputs["y"]
    info.name, info.dtype = "answer:0", 7
    return write_saved_model(folder, meta_graph)


@saved_model
def an_element_of_a_dataset_of_files(folder: Path, effects: Effects) -> Path:
    def read(module: Any) -> Any:
        files = tf.data.TextLineDataset([module.asset.asset_path, str(effects.secret)])
        return {"y": files.reduce("", lambda a, b: a + b)}

    return write_saved_model(folder, export_module(folder, read))


@saved_model
def a_signature_that_restores_another_file(folder: Path, effects: Effects) -> Path:
    """The Saver's filename is fed only while the restore op runs."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("v", initializer="SECRET-7531", use_resource=False)
        session.run(tf1.global_variables_initializer())
        elsewhere = tf1.train.Saver().save(session, f"{effects.secret}.ckpt", write_state=False)
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        variable = tf1.get_variable("v", initializer="honest", use_resource=False)
        session.run(variable.initializer)
        saver = tf1.train.Saver()
        (folder / "sm" / "variables").mkdir(parents=True)
        saver.save(session, str(folder / "sm" / "variables" / "variables"), write_state=False, write_meta_graph=False)
        meta_graph = make_meta_graph(graph, [graph.get_tensor_by_name("save/RestoreV2:0")])
        meta_graph.saver_def.CopyFrom(saver.as_saver_def())
    find_node(meta_graph.graph_def, "Const", "save/filename").attr["value"].tensor.string_val[0] = elsewhere.encode()
    return write_saved_model(folder, meta_graph)


@saved_model
def a_pipe_beside_a_good_text_form(folder: Path, effects: Effects) -> Path:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        meta_graph = make_meta_graph(graph, [x * 2.0], [x])
    path = write_saved_model(folder, meta_graph)
    message = protos.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    (path / "saved_model.pbtxt").write_text(str(message))
    (path / "saved_model.pb").unlink()
    os.mkfifo(path / "saved_model.pb")
    return path


@saved_model
def variables_that_are_a_pipe(folder: Path, effects: Effects) -> Path:
    path = a_signature_that_restores_another_file(folder, effects)
    file = next((path / "variables").glob("*.data-*"))
    file.unlink()
    os.mkfifo(file)
    return path
