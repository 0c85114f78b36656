"""The error that a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """An error that the user can mend, on one line: `what is wrong; what was found; what to do`."""
