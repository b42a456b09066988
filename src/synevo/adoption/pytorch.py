"""PyTorch's files: pickles, of which only tensors are read (`weights_only=True`), and nothing is executed."""

import io
import pickle
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from synevo.adoption.archives import members
from synevo.adoption.reading import Contents, executes, needs
from synevo.adoption.trees import flatten
from synevo.errors import AdoptionError

_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickle of a magic number with which files of PyTorch before 1.6 begin."""

_SAFER = "Write it anew: torch.save(model.state_dict(), FILE)."


def is_torch(content: bytes) -> bool:
    """Return whether a content is a file of `torch.save`, or any other pickle: none is loaded in another way."""
    return is_pickle(content) or any(name.endswith(("/data.pkl", "/constants.pkl")) for name in members(content))


def is_pickle(content: bytes) -> bool:
    """Return whether a content begins as a pickle does, of protocol 2 or newer."""
    return re.match(rb"\x80[\x02-\x05]", content) is not None


def read_torch(path: Path, content: bytes) -> Contents:
    """Return the tensors of a file of `torch.save` by name, also where they lie deeper, as under `state_dict`.

    Raises:
        AdoptionError: where PyTorch is not installed, or the file would execute code.
    """
    if is_pickle(content) and not content.startswith(_LEGACY):
        raise executes(path, "is a pickle of Python")
    if any(name.endswith("/constants.pkl") for name in members(content)):
        raise AdoptionError(f"{path} is a program of TorchScript, which is not executed.", remedy=_SAFER)
    if find_spec("torch") is None:
        raise needs(path, "a file of PyTorch", "torch")
    import torch  # noqa: PLC0415 (an extra, and slow to load)

    try:
        tree = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)|Unsupported (?:global|class|operand)[^\n]*", str(error))
        if found is None:
            raise ValueError("its pickle is damaged") from None
        raise executes(path, f"holds more than tensors ({found[0]})") from None
    if isinstance(tree, torch.Tensor):
        raise AdoptionError(f"{path} holds one tensor without a name.", remedy=_SAFER)
    arrays = flatten(_as_numpy(tree, torch))
    return {name.replace("/", "."): array for name, array in arrays.items()}, {}


def _as_numpy(tree: Any, torch: Any) -> Any:
    """Return a tree of dictionaries and lists with NumPy's arrays in place of tensors, and nothing but these."""
    if isinstance(tree, dict):
        return {name: _as_numpy(branch, torch) for name, branch in tree.items()}
    if isinstance(tree, list | tuple):
        return [_as_numpy(branch, torch) for branch in tree]
    if not isinstance(tree, torch.Tensor):
        return None
    tensor = tree.detach().to_dense() if tree.is_sparse else tree.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return np.asarray(tensor.resolve_conj().resolve_neg().numpy())
