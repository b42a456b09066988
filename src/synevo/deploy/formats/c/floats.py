"""C in floats: every value and every weight is a float32."""

from synevo.deploy.formats.c.source import name_of, text_of, written
from synevo.deploy.formats.graph import graph_of
from synevo.deploy.reload import Reloaded


def write(reloaded: Reloaded) -> bytes:
    text, _ = text_of(written(graph_of(reloaded, images=1)), name_of(reloaded.architecture), ["synevo"])
    return text.encode()
