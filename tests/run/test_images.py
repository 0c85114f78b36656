"""Image files become the arrays that a classifier takes."""

from __future__ import annotations

from pathlib import Path

from conftest import PROJECT, Run

from serialization.tensorflow import tf, tf1

SAMPLES = PROJECT / "pretrainedresnet" / "samples"


def test_images_of_other_sizes_and_formats(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        pixels = tf.io.decode_png((SAMPLES / "bag_0.png").read_bytes())
        large = tf.cast(tf.image.resize(tf.image.grayscale_to_rgb(pixels), [90, 120]), tf.uint8)
        (tmp_path / "bag.jpg").write_bytes(session.run(tf.io.encode_jpeg(large)))
        (tmp_path / "bag.png").write_bytes(session.run(tf.io.encode_png(large)))
    done = run("savedmodel_pretrained", "--image", tmp_path / "bag.jpg", tmp_path / "bag.png", "--top", 1)
    assert done.status == 0
    assert "proved: 2 images; the best" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("bag.")]
    assert [row[:2] for row in rows] == [["bag.jpg", "Bag"], ["bag.png", "Bag"]]
