"""Runs models on given or generated feeds, and proves that two models answer the same."""
