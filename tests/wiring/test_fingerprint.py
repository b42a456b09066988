"""The fingerprint of a program: one for each computation, the same in every process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synevo.wiring.fingerprint import fingerprint
from synevo.wiring.tracing import trace

MANY = """
import json
import specimens
from architectures import ARCHITECTURES
from synevo.model.network import take_apart
from synevo.wiring.dissection import example_of, program_of
from synevo.wiring.fingerprint import fingerprint
found = {}
for name in ("ViT", "UNet", "TransposeNet"):
    network = take_apart(specimens.hatch(ARCHITECTURES[name], (16, 16, 3)))
    found[name] = fingerprint(program_of(network, example_of((16, 16, 3))))
network = take_apart(specimens.hatch(specimens.Pipeline, (8, 8, 1)))
found["Pipeline"] = fingerprint(program_of(network, example_of((8, 8, 1))))
print(json.dumps(found))
"""


def of(function: Callable[..., Any]) -> str:
    arrays = {name: jax.ShapeDtypeStruct((3, 3), jnp.float32) for name in ("a", "b")}
    return fingerprint(trace(function, arrays, jax.ShapeDtypeStruct((2, 3), jnp.float32)))


def net(arrays: Any, x: Any) -> Any:
    return jnp.tanh(x @ arrays["a"]) @ arrays["b"] * 2


SAME: dict[str, Callable[..., Any]] = {
    "another name and a helper": lambda w, y: jax.jit(lambda z: jnp.tanh(z @ w["a"]))(y) @ w["b"] * 2,
    "dead code": lambda w, x: (jnp.sin(x), jnp.tanh(x @ w["a"]) @ w["b"] * 2)[1],
}
OTHER: dict[str, Callable[..., Any]] = {
    "activation": lambda w, x: jnp.sin(x @ w["a"]) @ w["b"] * 2,
    "order of layers": lambda w, x: jnp.tanh(x @ w["b"]) @ w["a"] * 2,
    "number": lambda w, x: jnp.tanh(x @ w["a"]) @ w["b"] * 3,
    "array in the code": lambda w, x: jnp.tanh(x @ w["a"]) @ w["b"] * np.array([[1, 2, 3]], np.float32),
    "other array in the code": lambda w, x: jnp.tanh(x @ w["a"]) @ w["b"] * np.array([[1, 2, 4]], np.float32),
    "axis": lambda w, x: jnp.tanh(x @ w["a"].T) @ w["b"] * 2,
    "loop": lambda w, x: jax.lax.fori_loop(0, 2, lambda _, y: jnp.tanh(y @ w["a"]), x) @ w["b"] * 2,
    "other loop": lambda w, x: jax.lax.fori_loop(0, 2, lambda _, y: jnp.sin(y @ w["a"]), x) @ w["b"] * 2,
}


@pytest.mark.parametrize("how", SAME)
def test_what_computes_the_same_steps_has_the_same_fingerprint(how: str) -> None:
    assert of(SAME[how]) == of(net)


def test_every_other_computation_has_another() -> None:
    assert len({of(net), *map(of, OTHER.values())}) == 1 + len(OTHER)


@pytest.mark.slow
def test_it_is_the_same_in_every_process() -> None:
    said = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        environment["PYTHONPATH"] = f"{Path(__file__).parents[1]}:{os.environ.get('PYTHONPATH', '')}"
        done = subprocess.run([sys.executable, "-c", MANY], env=environment, capture_output=True, text=True, check=True)
        said.append(json.loads(done.stdout))
    assert said[0] == said[1]
    assert len(set(said[0].values())) == len(said[0])
