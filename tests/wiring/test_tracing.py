"""Tracing: a model as a straight line of primitives."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from specimens import line_of

from synevo.wiring.tracing import Constant, Program, trace


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
