"""Ops that run while a model is loaded are found: initializers, restores, assets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from handmade_graphs import Node, X, Y, call, graph, ops, set_string

from serialization.checks import harm
from serialization.errors import UserError
from serialization.formats import protos


def test_only_the_saver_may_restore() -> None:
    def meta_graph(*more: tuple[str, str, list[str]]) -> Any:
        name: Node = ("save/Const", "Const", [])
        saves: Node = ("save/save", "SaveV2", ["save/Const"])
        restores = [("save/restore", "RestoreV2", ["save/Const"]), ("save/all", "NoOp", ["^save/restore", "^more"])]
        result = protos.MetaGraphDef(graph_def=graph(X, Y, name, saves, *restores, *more))
        result.saver_def.filename_tensor_name = "save/Const:0"
        result.saver_def.save_tensor_name = "save/save:0"
        result.saver_def.restore_op_name = "save/all"
        return result

    assert harm.scan_meta_graph(meta_graph(), ["y"]) == []
    assert ops(harm.scan_meta_graph(meta_graph(("more", "WriteFile", [])), ["y"])) == ["WriteFile"]
    assert ops(harm.scan_meta_graph(meta_graph(("more", "SaveV2", ["save/Const"])), ["y"])) == ["SaveV2"]
    elsewhere = set_string(meta_graph(("c", "Const", []), ("more", "RestoreV2", ["c"])).graph_def, "c", "/other")
    copy = meta_graph()
    copy.graph_def.CopyFrom(elsewhere)
    assert [str(f) for f in harm.scan_meta_graph(copy, ["y"])] == ["RestoreV2 at more (file /other)"]
    assert ops(harm.scan_meta_graph(meta_graph(), ["save/restore"])) == ["RestoreV2"]


def test_the_saver_may_restore_inside_of_a_function() -> None:
    nodes = [X, Y, ("name", "Placeholder", []), ("restore", "StatefulPartitionedCall", ["name"])]
    meta_graph = protos.MetaGraphDef(graph_def=graph(*nodes, F=[("r", "RestoreV2", ["arg"])]))
    call(meta_graph.graph_def, "restore", "F")
    meta_graph.saver_def.filename_tensor_name = "name:0"
    meta_graph.saver_def.restore_op_name = "restore"
    assert harm.scan_meta_graph(meta_graph, ["y"]) == []
    meta_graph.saver_def.filename_tensor_name = "x:0"
    assert ops(harm.scan_meta_graph(meta_graph, ["y"])) == ["RestoreV2"]


@pytest.mark.parametrize("where", ["signature", "main_op", "legacy_init_op", "table_initializer", "init signature"])
def test_each_entry_point_of_a_saved_model_is_scanned(where: str) -> None:
    meta_graph = protos.MetaGraphDef(graph_def=graph(X, Y, ("w", "WriteFile", ["x"]), ("init", "NoOp", ["^w"])))
    assert harm.scan_meta_graph(meta_graph) == []
    if where == "signature":
        meta_graph.signature_def["other"].outputs["y"].name = "w:0"
    elif where == "init signature":
        meta_graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "init"
    else:
        name = f"saved_model_{where}" if where == "main_op" else where
        meta_graph.collection_def[name].node_list.value.append("init")
    assert ops(harm.scan_meta_graph(meta_graph)) == ["WriteFile"]
    meta_graph.signature_def["serving_default"].outputs["y"].name = "y:0"
    chosen = harm.scan_meta_graph(meta_graph, ["y:0"])
    assert ops(chosen) == ([] if where == "signature" else ["WriteFile"])


def test_training_signatures_are_not_scanned() -> None:
    meta_graph = protos.MetaGraphDef(graph_def=graph(X, ("w", "WriteFile", ["x"])))
    meta_graph.signature_def["__saved_model_train_op"].outputs["__saved_model_train_op"].name = "w"
    assert harm.scan_meta_graph(meta_graph) == []


@pytest.mark.parametrize(
    "name", ["_initialize", "_create_resource", "_destroy_resource", "signatures", "restore", "call"]
)
def test_each_entry_point_of_an_object_graph_is_scanned(name: str) -> None:
    meta_graph = protos.MetaGraphDef(graph_def=graph(X, F=[("w", "WriteFile", ["arg"])]))
    nodes = meta_graph.object_graph_def.nodes
    root, function = nodes.add(), nodes.add()
    function.function.concrete_functions.append("F")
    if name == "signatures":
        root.children.add(local_name=name, node_id=2)
        nodes.add().children.add(local_name="serving_default", node_id=1)
    elif name == "restore":
        root.saveable_objects["v"].restore_function = 1
    else:
        root.children.add(local_name=name, node_id=1)
    # A method that nobody calls at loading may do what it likes: scripts run signatures only.
    assert ops(harm.scan_meta_graph(meta_graph)) == ([] if name == "call" else ["WriteFile"])


def table_model(folder: Path, filename: str, *, collection: bool = False) -> Any:
    """A MetaGraphDef whose table is filled from an asset; its init op is the table's."""
    nodes = [X, Y, ("asset", "Const", []), ("table", "HashTableV2", [])]
    graph_def = graph(*nodes, ("init", "InitializeTableFromTextFileV2", ["table", "asset"]))
    meta_graph = protos.MetaGraphDef(graph_def=set_string(graph_def, "asset", "/where/it/was/trained"))
    meta_graph.collection_def["saved_model_main_op"].node_list.value.append("init")
    asset = protos.AssetFileDef(filename=filename)
    asset.tensor_info.name = "asset:0"
    if collection:
        meta_graph.collection_def["saved_model_assets"].any_list.value.add().Pack(asset)
    else:
        meta_graph.asset_file_def.append(asset)
    (folder / "assets").mkdir(exist_ok=True)
    return meta_graph


@pytest.mark.parametrize("collection", [False, True])
def test_assets_of_the_model_may_be_read(tmp_path: Path, collection: bool) -> None:
    assert harm.scan_meta_graph(table_model(tmp_path, "v.txt", collection=collection), saved_model=tmp_path) == []


def test_an_asset_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    """Reading it would never end."""
    meta_graph = table_model(tmp_path, "v.txt", collection=False)
    (tmp_path / "assets" / "v.txt").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "assets" / "v.txt")
    (found,) = harm.scan_meta_graph(meta_graph, saved_model=tmp_path)
    assert str(found) == "v.txt (an asset that is no plain file)"


@pytest.mark.parametrize("filename", ["../v.txt", "/etc/passwd", "sub/../../../v.txt", "", "link", "nul\0l"])
@pytest.mark.parametrize("collection", [False, True])
def test_assets_that_leave_the_folder_are_refused(tmp_path: Path, filename: str, collection: bool) -> None:
    meta_graph = table_model(tmp_path, filename, collection=collection)
    (tmp_path / "assets" / "link").symlink_to("/etc/passwd")
    found = harm.scan_meta_graph(meta_graph, saved_model=tmp_path)
    assert ops(found)[0] == ""
    with pytest.raises(UserError, match="an asset path that leaves the folder"):
        harm.require_safe(found, tmp_path)


def test_damaged_asset_records_are_refused(tmp_path: Path) -> None:
    meta_graph = table_model(tmp_path, "v.txt", collection=True)
    meta_graph.collection_def["variables"].bytes_list.value.append(b"\x0a\xff")
    assert harm.scan_meta_graph(meta_graph, saved_model=tmp_path) == []
    meta_graph.collection_def["saved_model_assets"].any_list.value[0].value = b"\x0a\xff"
    with pytest.raises(UserError, match="the record of an asset cannot be read"):
        harm.scan_meta_graph(meta_graph, saved_model=tmp_path)


def test_an_initializer_may_read_a_captured_asset(tmp_path: Path) -> None:
    body = [("init", "InitializeTableFromTextFileV2", ["arg", "arg"])]
    meta_graph = protos.MetaGraphDef(graph_def=graph(X, F=body))
    nodes = meta_graph.object_graph_def.nodes
    nodes.add().children.add(local_name="_initialize", node_id=1)
    nodes.add().function.concrete_functions.append("F")
    nodes.add().asset.asset_file_def_index = 0
    meta_graph.asset_file_def.add(filename="v.txt")
    (tmp_path / "assets").mkdir()
    assert ops(harm.scan_meta_graph(meta_graph, saved_model=tmp_path)) == ["InitializeTableFromTextFileV2"]
    meta_graph.object_graph_def.concrete_functions["F"].bound_inputs.append(2)
    assert harm.scan_meta_graph(meta_graph, saved_model=tmp_path) == []
