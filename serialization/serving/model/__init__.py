"""Runs one model for requests."""
