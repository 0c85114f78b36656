"""What the files say, read from their bytes, without TensorFlow."""
