"""The report on one graph: its counts, signatures, candidates, tables, assets and findings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from handmade_graphs import X, Y, graph, scan

from serialization.checks.crashes import find_crashes
from serialization.formats import protos
from serialization.graph.graph_index import GraphIndex
from serialization.inspect.graph_report import describe_candidates, describe_graph


def describe(graph_def: Any, meta_graph: Any = None, folder: Path | None = None) -> dict[str, Any]:
    return describe_graph(graph_def, meta_graph, [], None, folder)


def add_constant(nodes: Any, name: str, dtype: int, *dims: int) -> None:
    node = nodes.add(name=name, op="Const")
    tensor = node.attr["value"].tensor
    tensor.dtype = dtype
    for size in dims:
        tensor.tensor_shape.dim.add(size=size)


def test_an_empty_graph_has_a_whole_report() -> None:
    report = describe(protos.GraphDef())
    assert report["constants"] == {"count": 0, "parameters": 0, "bytes": 0}
    assert (report["tags"], report["nodes"], report["ops"], report["candidates"]) == ([], 0, {}, None)
    assert report["findings"] == report["unknown_ops"] == report["without_kernel"] == report["assets"] == []


def test_the_nodes_of_functions_are_counted_with_those_of_the_graph() -> None:
    graph_def = graph(X, Y, ("z", "Neg", ["y"]), inner=[("a", "Neg", ["arg"]), ("b", "Neg", ["a"])])
    graph_def.node[2].device = graph_def.library.function[0].node_def[0].device = "/device:GPU:0"
    report = describe(graph_def)
    assert report["nodes"] == 3
    assert report["ops"] == {"Neg": 3, "Placeholder": 1, "Identity": 1}
    assert next(iter(report["ops"])) == "Neg", "the most frequent comes first"
    assert report["devices"] == {"/device:GPU:0": 2}
    assert report["functions"] == [{"name": "inner", "nodes": 2, "inputs": ["arg"], "outputs": []}]


def test_parameters_are_the_floating_point_numbers_of_constants() -> None:
    graph_def = graph(X, inner=[])
    for name, dtype, dims in (("w", 1, [3, 4]), ("half", 19, [2]), ("brain", 14, [5]), ("scalar", 2, [])):
        add_constant(graph_def.node, name, dtype, *dims)
    add_constant(graph_def.node, "axes", 3, 100)  # integers
    add_constant(graph_def.node, "damaged", 1, -1, 100)
    add_constant(graph_def.library.function[0].node_def, "inner", 1, 7)
    constants = describe(graph_def)["constants"]
    assert (constants["count"], constants["parameters"]) == (7, 12 + 2 + 5 + 1 + 7)


def test_signatures_hold_shapes_and_composite_tensors() -> None:
    meta_graph = protos.MetaGraphDef()
    meta_graph.meta_info_def.tags.extend(["serve", "gpu"])
    signature = meta_graph.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for key, name in (("b", "x:0"), ("a", "any:0")):
        signature.inputs[key].name = name
        signature.inputs[key].dtype = 1
    for size in (-1, 4):
        signature.inputs["b"].tensor_shape.dim.add(size=size)
    signature.inputs["a"].tensor_shape.unknown_rank = True
    signature.outputs["sparse"].coo_sparse.values_tensor_name = "values:0"
    signature.outputs["bare"].dtype = 9999  # of no TensorFlow
    report = describe(meta_graph.graph_def, meta_graph)
    assert report["tags"] == ["gpu", "serve"]
    recorded = report["signatures"]["serving_default"]
    assert recorded["inputs"] == [
        {"key": "a", "name": "any:0", "dtype": "float32", "shape": None},
        {"key": "b", "name": "x:0", "dtype": "float32", "shape": [None, 4]},
    ]
    assert [(tensor["key"], tensor["name"]) for tensor in recorded["outputs"]] == [
        ("bare", "a tensor"),
        ("sparse", "a coo sparse"),
    ]


def test_tables_have_their_dtypes_as_far_as_they_are_recorded() -> None:
    graph_def = graph(("t", "HashTableV2", []), ("u", "MutableHashTable", []))
    graph_def.node[0].attr["key_dtype"].type, graph_def.node[0].attr["value_dtype"].type = 7, 9
    assert describe(graph_def)["tables"] == [
        {"node": "t", "op": "HashTableV2", "key_dtype": "string", "value_dtype": "int64"},
        {"node": "u", "op": "MutableHashTable", "key_dtype": "unknown", "value_dtype": "unknown"},
    ]


def test_assets_have_their_sizes_where_their_files_are(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "words.txt").write_text("a\nb\n")
    meta_graph = protos.MetaGraphDef()
    for name in ("words.txt", "gone.txt"):
        asset = meta_graph.asset_file_def.add(filename=name)
        asset.tensor_info.name = f"{name[0]}:0"
    known = describe(meta_graph.graph_def, meta_graph, tmp_path)["assets"]
    assert known == [
        {"file": "words.txt", "tensor": "w:0", "bytes": 4},
        {"file": "gone.txt", "tensor": "g:0", "bytes": None},
    ]
    assert [asset["bytes"] for asset in describe(meta_graph.graph_def, meta_graph)["assets"]] == [None, None]


def test_unknown_ops_are_neither_tensorflows_nor_functions() -> None:
    nodes = [("a", "Unheard", ["x"]), ("b", "Addons>Gelu", ["x"]), ("c", "Unheard", ["x"]), ("d", "inner", ["x"])]
    unknown = describe(graph(X, *nodes, inner=[("e", "Unheard", ["arg"])]))["unknown_ops"]
    assert {found["op"]: found["nodes"] for found in unknown} == {"Addons>Gelu": ["b"], "Unheard": ["a", "c", "e"]}
    assert unknown[0]["library"] == "tensorflow-addons"


def test_ops_without_a_kernel_are_listed_but_for_the_wrappers_of_tpus() -> None:
    wrappers = [("m", "TPUReplicateMetadata", []), ("r", "TPUReplicatedInput", ["x"])]
    graph_def = graph(X, *wrappers, ("s", "SendTPUEmbeddingGradients", ["r"]))
    before = graph_def.SerializeToString(deterministic=True)
    missing = describe(graph_def)["without_kernel"]
    assert [(found["op"], found["nodes"]) for found in missing] == [("SendTPUEmbeddingGradients", ["s"])]
    assert graph_def.SerializeToString(deterministic=True) == before, "the graph itself stays as it is"


def test_findings_are_plain_data() -> None:
    graph_def = graph(X, ("w", "WriteFile", ["x", "x"]))
    (found,) = describe_graph(graph_def, None, scan(graph_def), None)["findings"]
    assert (found["op"], found["node"], found["function"]) == ("WriteFile", "w", "")
    assert (found["effect"], found["shown"]) == ("write files", "WriteFile at w")
    assert json.loads(json.dumps(found)) == found


def test_candidates_have_a_role_and_a_reason() -> None:
    likely = describe_candidates(GraphIndex(graph(X, Y)), [])
    assert likely is not None
    assert [(c["name"], c["role"], c["why"]) for c in likely["inputs"]] == [("x:0", "feature", "is fed by the caller")]
    assert [(c["name"], c["role"], c["why"]) for c in likely["outputs"]] == [("y:0", "output", "nothing consumes it")]
    assert (likely["others"], likely["ambiguous"]) == ([], False)


def test_a_graph_that_would_crash_tensorflow_has_no_candidates() -> None:
    graph_def = graph(X, ("apart", "Unpack", ["x"]))
    graph_def.node[1].attr["num"].i = 1 << 40
    index = GraphIndex(graph_def)
    assert describe_candidates(index, list(find_crashes(index))) is None
