"""Readers of the file formats, which work without TensorFlow."""
