"""Tracing: a model as a straight line of primitives."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import Array
from specimens import line_of

import synevo
from synevo.wiring.tracing import Constant, Program, line, trace


def program_of(function: object, **arrays: Array) -> Program:
    return trace(function, arrays, jnp.ones((2, 3)))


def primitives(program: Program) -> list[str]:
    return [step.primitive for step in program.steps]


def test_calls_are_inlined_however_deep() -> None:
    def model(arrays: dict[str, Array], x: Array) -> Array:
        return jax.jit(jax.checkpoint(lambda y: jax.nn.relu(jnp.sin(y))))(x) * arrays["w"]

    assert primitives(program_of(model, w=jnp.ones((2, 3)))) == ["sin", "max", "mul"]


def test_steps_that_no_output_needs_are_dropped() -> None:
    def model(arrays: dict[str, Array], x: Array) -> Array:
        _ = jnp.exp(arrays["w"]) @ x
        return jnp.cos(x)

    program = program_of(model, w=jnp.ones((3, 2)))
    assert primitives(program) == ["cos"]
    assert list(program.arrays) == ["w"]


def test_values_are_numbered_once_and_have_shapes() -> None:
    def model(arrays: dict[str, Array], x: Array) -> Array:
        return jnp.sin(x @ arrays["b"] @ arrays["a"])

    program = program_of(model, a=jnp.ones((4, 5)), b=jnp.ones((3, 4)))
    assert program.shapes[program.arrays["a"]] == (4, 5)
    assert program.shapes[program.arrays["b"]] == (3, 4)
    (image,) = program.inputs
    first, second, third = program.steps
    assert first.operands == (image, program.arrays["b"])
    assert second.operands == (first.results[0], program.arrays["a"])
    assert third.operands == second.results
    assert program.outputs == third.results
    assert program.shapes[third.results[0]] == (2, 5)


def test_numbers_in_the_code_are_constants_of_the_program() -> None:
    table = np.arange(3, dtype=np.float32)[None]

    def model(_arrays: dict[str, Array], x: Array) -> Array:
        return jnp.multiply(x, 2.5) + jnp.broadcast_to(table, x.shape)

    program = program_of(model)
    scalars = [operand.value for step in program.steps for operand in step.operands if isinstance(operand, Constant)]
    assert [float(value) for value in scalars] == [2.5]
    (kept,) = program.constants.values()
    np.testing.assert_array_equal(kept, table)


def test_a_step_knows_the_line_of_the_model_also_inside_the_library_s_own_calls() -> None:
    def model(arrays: dict[str, Array], x: Array) -> Array:
        y = jnp.pad(x, 1)
        return jax.nn.softplus(y) * arrays["w"]

    found = {step.primitive: step.where for step in program_of(model, w=jnp.ones((4, 5))).steps}
    assert found["mul"] == line_of(model, "softplus")
    assert found["pad"] == line_of(model, "jnp.pad")


MINE = """import jax

def model(arrays, x):
    return jax.nn.softplus(
        x) * arrays["w"]
"""


@pytest.mark.parametrize("folder", ["jax", "flax", "flax/nnx", "lib/site-packages/jax", "numpy", "synevo", "models"])
def test_a_user_s_own_file_is_a_model_s_in_whatever_folder_it_lies(folder: str, tmp_path: Path) -> None:
    place = tmp_path / folder / "mine.py"
    place.parent.mkdir(parents=True)
    place.write_text(MINE)
    spec = spec_from_file_location("mine", place)
    assert spec
    assert spec.loader
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)
    steps = program_of(module.model, w=jnp.ones((2, 3))).steps
    assert {step.where for step in steps if step.primitive != "mul"} == {"mine.py:4"}
    assert [step.where for step in steps if step.primitive == "mul"] == ["mine.py:4"]


def test_a_file_of_an_installed_library_is_no_model_s() -> None:
    """The innermost frame that is a model's counts; of synevo's own files, those are its ancestors."""
    ancestors = Path(synevo.__file__).parent / "ancestors" / "lenet5.py"
    mine = ("/home/me/jax/nn.py", 7)
    for module in (jax, jax.nn, jax.numpy, flax, nnx, np, synevo):
        assert line([(module.__file__, 3)]) == ""
        assert line([(module.__file__, 3), mine, ("/home/me/main.py", 9)]) == "nn.py:7"
    assert line([("<string>", 1), mine]) == "nn.py:7"
    assert line([(str(ancestors), 5), mine]) == "lenet5.py:5"
    assert line([(optax.__file__, 2)]) == "__init__.py:2"
    assert line([("C:\\me\\flax\\net.py", 4)]) == "net.py:4"
    assert line([]) == ""
