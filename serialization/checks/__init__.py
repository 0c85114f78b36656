"""Checks of a graph before TensorFlow gets it: harmful ops, crashes, memory."""
