"""What the scripts share: everything that is not the lesson itself."""

import os
import signal
import sys
from types import FrameType

__version__ = "0.2.0.dev0"


def end_interrupted(_: int, __: FrameType | None) -> None:
    """Handle SIGINT until `cli.call_main` does, which has yet to be imported: end as it would, without a traceback."""
    os.write(2, b"interrupted\n")
    os._exit(128 + signal.SIGINT)


# Nothing was done yet. A program of others that imports this package keeps its own handler, as does a worker. Without
# pathlib, which takes as long to import as the modules after it.
_script = getattr(sys.modules["__main__"], "__file__", None) or ""
_is_ours = os.path.realpath(_script).rpartition(os.sep)[0] == os.path.realpath(__file__).rsplit(os.sep, 2)[0]
if _is_ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background it is ignored
    signal.signal(signal.SIGINT, end_interrupted)
