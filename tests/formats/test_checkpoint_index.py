"""A checkpoint's index is read as TensorFlow reads it."""

from __future__ import annotations

from pathlib import Path

from serialization.files import locate
from serialization.tensorflow import tf, tf1


def test_the_index_is_read_as_tensorflow_reads_it(toy: Path) -> None:
    found = locate.find_checkpoint(toy / "graph.ckpt")
    reader = tf1.train.load_checkpoint(str(toy / "graph.ckpt"))
    dtypes = {name: tf.as_dtype(dtype).name for name, dtype in reader.get_variable_to_dtype_map().items()}
    assert {v.name: list(v.shape) for v in found.variables} == reader.get_variable_to_shape_map()
    assert {v.name: v.dtype for v in found.variables} == dtypes
    assert [file.stat().st_size for file in found.files] == list(found.ends)


def test_an_index_of_many_blocks_is_read(tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        for number in range(300):
            tf1.get_variable(f"layer_{number:03}/a_rather_long_name/weights", initializer=float(number))
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(tmp_path / "m"))
    found = locate.find_checkpoint(tmp_path / "m")
    assert [v.name for v in found.variables] == [f"layer_{n:03}/a_rather_long_name/weights" for n in range(300)]
