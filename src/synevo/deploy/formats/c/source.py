"""The C file: what it says about itself, its constants, its loops, and one function for a network."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from synevo.deploy.formats.c.elementwise import write_loop
from synevo.deploy.formats.c.expressions import EXPRESSIONS
from synevo.deploy.formats.c.fusing import fuse
from synevo.deploy.formats.c.kernels import PRELUDE, kernel_text, layer_text
from synevo.deploy.formats.c.loops import indented
from synevo.deploy.formats.c.memory import place
from synevo.deploy.formats.c.rules import RULES
from synevo.deploy.formats.c.values import BYTE, FLOAT, POOLS, WORD, Buffer, View, contiguous
from synevo.deploy.formats.c.writer import BYTES, Writer
from synevo.deploy.formats.graph import Graph
from synevo.wiring.tracing import Step

HELPERS = {
    "bounded": """\
static float bounded(float value, float low, float high)
{
  const float above = value > low ? value : low;
  return above < high ? above : high;
}
""",
    "whole": """\
/* the nearest whole number of eight bits */
static int8_t whole(float value)
{
  const float above = value > -128.0f ? value : -128.0f;
  const float inside = above < 127.0f ? above : 127.0f;
  return (int8_t)((int)(inside + 128.5f) - 128);
}
""",
}


@dataclass(frozen=True)
class Sizes:
    """What a C program costs: bytes of static buffers and of constants, multiply-adds of living and of all synapses."""

    buffers: int
    constants: int
    living: int
    stored: int


def written(graph: Graph) -> Writer:
    """Return the writer of a graph once all of its steps are written.

    Raises:
        ExportError: if a step has no counterpart in C; the message names the line of the user's model.
    """
    return write_steps(Writer(fuse(graph)))


def write_steps(writer: Writer) -> Writer:
    """Write all steps of a program."""
    graph = writer.fused.graph
    shape = writer.shape(graph.pixels)
    pixels = Buffer("uint8_t", int(np.prod(shape)), name="pixels")
    writer.values[graph.pixels] = View(pixels, contiguous(shape, tuple(range(len(shape)))))
    waiting: dict[int, list[Step]] = {}
    for step in writer.fused.steps:
        if step.primitive in EXPRESSIONS:
            last = writer.fused.loops[step.results[0]]
            waiting.setdefault(last, []).append(step)
            if last == step.results[0]:
                write_loop(writer, waiting.pop(last))
        elif step.primitive in RULES:
            RULES[step.primitive](writer, step)
        else:
            raise writer.refuse(step)
    for value in writer.fused.final:
        shape = writer.shape(value)
        logits = View(Buffer(FLOAT, int(np.prod(shape)), name="logits"), contiguous(shape, tuple(range(len(shape)))))
        writer.copy(writer.view(value), logits)
    return writer


def text_of(writer: Writer, name: str, about: list[str]) -> tuple[str, Sizes]:
    """Return the C file of a program whose function is called `name`, and what it costs; `about` heads its comment."""
    pools = {kind: size for kind, size in place(writer.operations).items() if size}
    sizes = Sizes(
        sum(BYTES[kind] * size for kind, size in pools.items()),
        writer.constant_bytes,
        sum(one.living for one in writer.operations),
        sum(one.stored for one in writer.operations),
    )
    body = []
    for operation in writer.operations:
        body += [f"/* {operation.title} */"] if operation.title else []
        body += operation.lines()
    kernels = [kernel_text(variant) for variant in sorted(writer.variants, key=lambda one: one.name)]
    layers = {variant.layer: layer_text(variant) for variant in writer.variants}
    everything = "\n".join([*kernels, *body])
    inputs = int(np.prod(writer.shape(writer.fused.graph.pixels)))
    outputs = int(np.prod(writer.shape(writer.fused.final[0])))
    parts = [
        _comment(name, about, sizes),
        _declarations(name, inputs, outputs),
        f"#ifndef {name.upper()}_HEADER",
        "",
        *[f"#include <{header}.h>" for header in _headers(everything)],
        "",
        *([PRELUDE] if "FOUR" in everything else []),
        *[layers[key] for key in sorted(layers)],
        *writer.texts,
        *writer.layers,
        *[f"static {kind} {POOLS[kind]}[{size}];" for kind, size in pools.items()],
        "",
        *[text for helper, text in HELPERS.items() if f"{helper}(" in everything],
        *kernels,
        f"void {name}(const uint8_t *pixels, float *logits)",
        "{",
        *indented(body),
        "}",
        _main(name),
        f"#endif /* {name.upper()}_HEADER */",
    ]
    return "\n".join(parts) + "\n", sizes


def _comment(name: str, about: list[str], sizes: Sizes) -> str:
    lines = [
        *about,
        "",
        f"static buffers: {sizes.buffers} bytes; constants: {sizes.constants} bytes",
        f"multiply-adds: {sizes.living} of living synapses, {sizes.stored} of all",
        "",
        "It needs a C99 or C++ compiler and <math.h>, no heap and no file, and computes one example a call.",
        "Buffers are static: two threads must not call it at the same time.",
        f"As a header: #define {name.upper()}_HEADER, then #include this file.",
        f"As a program, from pixels on stdin to logits on stdout: cc -O2 -D{name.upper()}_MAIN FILE -lm",
    ]
    return "\n".join(["/*", *(f" * {line}".rstrip() for line in lines), " */"])


def _declarations(name: str, inputs: int, outputs: int) -> str:
    upper = name.upper()
    return f"""\
#ifndef {upper}_DECLARED
#define {upper}_DECLARED
#include <stdint.h>
#define {upper}_PIXELS {inputs}
#define {upper}_LOGITS {outputs}
#ifdef __cplusplus
extern "C" {{
#endif
void {name}(const uint8_t *pixels, float *logits);
#ifdef __cplusplus
}}
#endif
#endif
"""


def _headers(text: str) -> list[str]:
    found = []
    if re.search(r"INFINITY|NAN|[a-z0-9]f\(", text):
        found.append("math")
    if "memset" in text:
        found.append("string")
    return found


def _main(name: str) -> str:
    upper = name.upper()
    return f"""
#ifdef {upper}_MAIN
#include <stdio.h>
int main(void)
{{
  static uint8_t pixels[{upper}_PIXELS];
  static float logits[{upper}_LOGITS];
  while (fread(pixels, 1, sizeof pixels, stdin) == sizeof pixels) {{
    {name}(pixels, logits);
    for (int i = 0; i < {upper}_LOGITS; i++) printf("%.9g%c", (double)logits[i], i + 1 < {upper}_LOGITS ? ' ' : '\\n');
  }}
  return 0;
}}
#endif
"""


def name_of(architecture: Any) -> str:
    """Return the name of a network's function: its ancestor's and its generation, such as `lenet5_g08`."""
    ancestor = str(architecture.get("ancestor", "network")).rpartition(":")[2]
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", ancestor.rpartition(".")[2])
    clean = re.sub(r"\W+", "_", snake).strip("_").lower() or "network"
    clean = clean if clean[0].isalpha() else f"network_{clean}"
    return f"{clean}_g{int(architecture['generation']):02d}"


__all__ = ["BYTE", "WORD", "Sizes", "name_of", "text_of", "write_steps", "written"]
