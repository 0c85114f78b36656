"""Decodes requests and encodes answers, with one module for each format."""
