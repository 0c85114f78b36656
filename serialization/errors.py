"""The error that a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: `what is wrong; what was found; what to do`, on one line."""
