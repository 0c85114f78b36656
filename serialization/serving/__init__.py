"""Serves a model over HTTP, for freezemodel_serve.py."""
