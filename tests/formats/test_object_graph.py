"""Variables of an object checkpoint have their names and roles."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import Run, inspect

from serialization.files.locate import find_checkpoint
from serialization.formats import checkpoint_index
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
    model.compile("adam", "mse")
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
