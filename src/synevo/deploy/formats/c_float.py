"""C in floats: every weight and every value is a float32."""

from synevo.deploy.formats.c.checker import called, costs, open_file
from synevo.deploy.formats.c.fusing import fuse
from synevo.deploy.formats.c.source import text_of, written
from synevo.deploy.formats.graph import graph_of
from synevo.deploy.interface import unpadded
from synevo.deploy.reload import Reloaded

__all__ = ["called", "costs", "open_file", "write"]


def write(reloaded: Reloaded) -> bytes:
    """Return the content of a C file with the network, for one example a call.

    Raises:
        ExportError: if a step has no counterpart in C; the message names the line of the user's model.
    """
    return text_of(written(fuse(graph_of(unpadded(reloaded), count=1))), reloaded.architecture).encode()
