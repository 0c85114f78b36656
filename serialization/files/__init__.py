"""Finds the model at a path, and publishes results whole or not at all."""
