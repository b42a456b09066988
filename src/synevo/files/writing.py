"""Files are written whole or not at all, and checked when read."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synevo.errors import damaged


def hash_of(content: bytes) -> str:
    """Return the SHA-256 of a content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def canonical(value: Any) -> bytes:
    """Return a JSON value as bytes: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def pretty(value: Any) -> bytes:
    """Return a JSON value as indented UTF-8 text for people."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def read_checked(path: Path, sha: str) -> bytes:
    """Return the content of a file; raise RunError if it is missing or its SHA-256 is not `sha`."""
    if not path.is_file():
        raise damaged(path, "it is missing")
    content = path.read_bytes()
    if hash_of(content) != sha:
        raise damaged(path, "it is not the file that was written (its hash differs)")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raise RunError if there is none."""
    try:
        table: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from None
    if not isinstance(table, dict):
        raise damaged(path, "it is no JSON object")
    return table


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value to a file, whole or not at all."""
    write(path, pretty(value))


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write a folder of files (name → content), whole or not at all.

    It replaces a folder of the same name: a killed process may have left one that the lineage does not list.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in contents.items():
            write(temporary / name, content)
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
