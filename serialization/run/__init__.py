"""Runs models: feeds for them, and the proof that two answer the same."""
