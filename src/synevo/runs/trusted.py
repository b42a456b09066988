"""The user's word for the code of an ancestor: a file may name a module, but only its user may have it run.

A name that the user gives (`--ancestor`, or a plan that starts a run) is kept with the path of its module, in
`$XDG_STATE_HOME/synevo/ancestors.json` (by default under `~/.local/state`). So networks of one's own need no word
again, and a received folder that names the same module, or comes with a module of the same name, does.
"""

import json
import os
import shlex
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from synevo import ancestors
from synevo.errors import RunError
from synevo.files.writing import write_json


def require(name: str, path: Path) -> None:
    """Raise RunError unless the ancestor `name`, which the network at `path` names, is built in or the user's."""
    if name in ancestors.BUILT_IN or _place(name) in _known().get(name, []):
        return
    raise RunError(
        f"{path} names the ancestor {name}, and to build the network is to run that code: "
        "synevo runs no code because a file names it.",
        remedy=f"If you trust that code, say so: add `--ancestor {shlex.quote(name)}` to the command, "
        f"or call synevo.load({str(path)!r}, ancestor={name!r}).",
    )


def remember(name: str) -> None:
    """Keep an ancestor that the user has named, and where its module is; a failure is ignored."""
    place = _place(name)
    if name in ancestors.BUILT_IN or place is None:
        return
    known = _known()
    if place not in known.get(name, []):
        with suppress(OSError, RuntimeError):  # a user without a home directory
            write_json(_file(), {**known, name: [*known.get(name, []), place]})


def _place(name: str) -> str | None:
    """Return the path of the module, or of the outermost package, of `package.module:factory`; nothing is imported."""
    if "" not in sys.path:
        sys.path.insert(0, "")  # as where it is imported
    try:
        spec = find_spec(name.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return os.pathsep.join(str(Path(place).resolve()) for place in places) or None


def _known() -> dict[str, list[str]]:
    """Return the ancestors that the user has named, with the places of their modules."""
    try:
        known = json.loads(_file().read_text("utf-8"))
        return {str(name): [str(place) for place in places] for name, places in known.items()}
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError):
        return {}


def _file() -> Path:
    folder = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(folder).expanduser() / "synevo" / "ancestors.json"
