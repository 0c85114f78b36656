"""The HTTP side of freezemodel_serve.py."""
