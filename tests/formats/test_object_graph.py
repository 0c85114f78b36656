"""Variables of an object checkpoint have their names and roles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, inspect

from serialization.files.locate import find_checkpoint
from serialization.formats import checkpoint_index, protos
from serialization.formats.checkpoint_index import OBJECT_GRAPH, Checkpoint, Place
from serialization.formats.object_graph import ObjectVariable, read_object_graph
from serialization.formats.sstable import compute_crc32c, mask_crc32c
from serialization.formats.wire import DamagedError, write_varint
from serialization.tensorflow import np, tf, tf1


def test_variables_of_an_object_checkpoint_have_names_and_slots(run: Run, tmp_path: Path) -> None:
    variable = tf.Variable([1.0, 2.0], name="weights")
    optimizer = tf1.train.AdamOptimizer()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(variable * variable)
    optimizer.apply_gradients([(tape.gradient(loss, variable), variable)])
    tf.train.Checkpoint(layer=variable, optimizer=optimizer).write(str(tmp_path / "ckpt-1"))
    variables = inspect(run, tmp_path / "ckpt-1")["variables"]
    found = {v["name"].replace("/.ATTRIBUTES/VARIABLE_VALUE", ""): v for v in variables}
    slot = "layer/.OPTIMIZER_SLOT/optimizer/m"
    assert set(found) > {"layer", slot, "optimizer/beta1_power"}
    assert [found["layer"][key] for key in ("full_name", "role", "slot_of")] == ["weights", "variable", None]
    assert [found[slot][key] for key in ("role", "slot", "slot_of")] == ["optimizer slot", "m", "weights"]
    assert found["optimizer/beta1_power"]["role"] == "optimizer"
    text = run("model_inspect", tmp_path / "ckpt-1").stdout
    assert re.search(r"^layer/.ATTRIBUTES/VARIABLE_VALUE +float32 +\[2\] +2 +weights$", text, re.M)
    assert re.search(r"^layer/.OPTIMIZER_SLOT/optimizer/m/\S+ +float32 +\[2\] +2 +slot m of weights$", text, re.M)
    assert "of these the optimizer's: 6 in 4 variables\n" in text


def test_variables_of_a_keras_optimizer_have_the_role_optimizer(run: Run, tmp_path: Path) -> None:
    model = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(3, name="first")], name="model")
    model.compile(tf.keras.optimizers.Adam(name="adam"), "mse")
    model.train_on_batch(np.zeros([2, 4]), np.zeros([2, 3]))
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(tmp_path / "ckpt-1"))
    roles = {v["full_name"]: v["role"] for v in inspect(run, tmp_path / "ckpt-1")["variables"]}
    assert roles["model/first/kernel"] == "variable"
    assert roles["adam/model_first_kernel_momentum"] == "optimizer"


def test_a_damaged_object_graph_is_a_fault(run: Run, tmp_path: Path) -> None:
    prefix = tmp_path / "ckpt-1"
    tf.train.Checkpoint(v=tf.Variable([1.0, 2.0])).write(str(prefix))
    held = find_checkpoint(prefix)
    place = held.places[checkpoint_index.OBJECT_GRAPH.encode()]
    data = bytearray(place.file.read_bytes())
    data[place.offset] ^= 1  # the length of the string
    place.file.write_bytes(data)
    report = inspect(run, prefix)
    assert report["faults"] == [
        f"{prefix} is damaged; its object graph has another length than recorded; copy it here again"
    ]
    assert [v["role"] for v in report["variables"]] == [None]
    place.file.unlink()
    (fault,) = inspect(run, prefix)["faults"]
    assert f"its data file {place.file.name} is missing" in fault


def stored(graph: Any) -> bytes:
    """An object graph as a tensor of one string in a data file."""
    data = graph.SerializeToString()
    checksum = mask_crc32c(compute_crc32c(len(data).to_bytes(4, "little")))
    return write_varint(len(data)) + checksum.to_bytes(4, "little") + bytes(data)


def checkpoint(folder: Path, data: bytes, *, object_graph: bool = True) -> Checkpoint:
    file = folder / "m.data-00000-of-00001"
    file.write_bytes(b"before" + data)
    places = {OBJECT_GRAPH.encode(): Place(file, 6, len(data), 0)}
    return Checkpoint(folder / "m", "V2", (file,), (), object_graph, (), places)


def object_graph(*nodes: tuple[dict[str, int], str]) -> Any:
    """Objects with their children by name, and the name of the variable that each has, if any; its key is key_NAME."""
    graph = protos.TrackableObjectGraph()
    for children, name in nodes:
        node = graph.nodes.add()
        for child, number in children.items():
            node.children.add(local_name=child, node_id=number)
        if name:
            node.attributes.add(full_name=name, checkpoint_key=f"key_{name}")
    return graph


def test_a_variable_that_only_an_optimizer_refers_to_is_the_optimizers(tmp_path: Path) -> None:
    graph = object_graph(
        ({"model": 1, "my_Optimizer": 2, "away": -1, "beyond": 99}, ""),
        ({"w": 3, "parent": 0}, ""),
        ({"w": 3, "step": 4}, ""),
        ({}, "w"),
        ({}, "step"),
    )
    assert read_object_graph(checkpoint(tmp_path, stored(graph))) == {
        "key_w": ObjectVariable("w"),
        "key_step": ObjectVariable("step", "optimizer"),
    }


def test_a_slot_names_its_variable_or_else_the_key(tmp_path: Path) -> None:
    graph = object_graph(
        ({"w": 1, "v": 2, "optimizer": 3}, ""), ({}, "w"), ({}, "v"), ({}, ""), ({}, "w/m"), ({}, "v/m")
    )
    graph.nodes[2].attributes[0].full_name = ""
    for variable, slot in ((1, 4), (2, 5), (0, 4), (99, 4), (1, -1)):  # the last three name no variables
        graph.nodes[3].slot_variables.add(original_variable_node_id=variable, slot_variable_node_id=slot, slot_name="m")
    found = read_object_graph(checkpoint(tmp_path, stored(graph)))
    assert found["key_w/m"] == ObjectVariable("w/m", "optimizer slot", "m", "w")
    assert found["key_v/m"] == ObjectVariable("v/m", "optimizer slot", "m", "key_v")


def test_without_an_object_graph_there_are_no_names(tmp_path: Path) -> None:
    assert read_object_graph(checkpoint(tmp_path, stored(object_graph(({}, "w"))), object_graph=False)) == {}
    assert read_object_graph(checkpoint(tmp_path, stored(object_graph()))) == {}
    assert read_object_graph(Checkpoint(tmp_path / "m", "V2", (), (), object_graph=True)) == {}


WHOLE = stored(object_graph(({"w": 1}, ""), ({}, "w")))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a number is cut off"),
        (WHOLE[:-1], "its object graph has another length than recorded"),
        (WHOLE + b"\0", "its object graph has another length than recorded"),
        (WHOLE[:1] + b"\0" + WHOLE[2:], "its object graph has another length than recorded"),
        (WHOLE[:5] + b"\x07" + WHOLE[6:], "its object graph cannot be read"),
    ],
)
def test_damaged_bytes_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DamagedError, match=f"^{message}$"):
        read_object_graph(checkpoint(tmp_path, data))


def test_a_missing_data_file_is_refused(tmp_path: Path) -> None:
    held = checkpoint(tmp_path, WHOLE)
    held.files[0].unlink()
    with pytest.raises(DamagedError, match=r"^its object graph cannot be read$"):
        read_object_graph(held)
