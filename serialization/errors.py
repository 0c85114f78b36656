"""The error that a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """An error that the user can mend, on one line: `what is wrong; what was found; what to do`."""

    def advise(self, script: str) -> str:
        """The line for a script by its name without `.py`; what to do may be a command of that script."""
        return str(self)
