"""A graph is cut at its inputs."""

from __future__ import annotations

from pathlib import Path

from conftest import Run, freeze

from serialization.tensorflow import tf, tf1


def test_a_queue_is_cut_at_an_inner_tensor(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        queue = tf1.train.input_producer([[1.0, 2.0]], num_epochs=1, name="producer")
        row = tf.identity(queue.dequeue(), name="row")
        tf.multiply(row, tf1.get_variable("w", [2], initializer=tf1.ones_initializer()), name="y")

    with tf1.Graph().as_default(), tf1.Session() as session:
        build()
        session.run([tf1.global_variables_initializer(), tf1.local_variables_initializer()])
        tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    done = freeze(run, tmp_path / "model.ckpt", tmp_path, "--inputs", "row", "--outputs", "y")
    assert (done.status, done.stderr) == (0, "")
    assert "cut at row:0; the ops before it are left out" in done.stdout
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", "row=[3,4]")
    assert "prefix/y:0 float32 [2]\n[3. 4.]\n" in done.stdout
    done = freeze(run, tmp_path / "model.ckpt", tmp_path, "--outputs", "y", "--overwrite")
    assert "inputs, as the outputs need them: producer_Dequeue:0 float32 [2]" in done.stdout, (
        "a queue is no source of values"
    )
