"""The C file: what it says about itself, its constants, its loops, and one function for a network."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from synevo import __version__
from synevo.deploy.formats.c.bodies import body_of
from synevo.deploy.formats.c.elementwise import write_loop
from synevo.deploy.formats.c.expressions import EXPRESSIONS
from synevo.deploy.formats.c.fusing import Fused
from synevo.deploy.formats.c.kernels import FIXED, kernel_text, layer_text
from synevo.deploy.formats.c.loops import indented
from synevo.deploy.formats.c.memory import place
from synevo.deploy.formats.c.rules import RULES
from synevo.deploy.formats.c.values import FLOAT, POOLS, Buffer, Quantum, View, contiguous
from synevo.deploy.formats.c.writer import BYTES, Writer

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


def written(fused: Fused, quanta: Mapping[int, Quantum] | None = None) -> Writer:
    """Return the writer of a program once all of its steps are written, in whole numbers where `quanta` says so.

    Raises:
        ExportError: if a step has no counterpart in C; the message names the line of the user's model.
    """
    writer = Writer(fused, dict(quanta or {}))
    graph = fused.graph
    shape = writer.shape(graph.pixels)
    pixels = Buffer("uint8_t", int(np.prod(shape)), name="pixels")
    writer.values[graph.pixels] = View(pixels, contiguous(shape, tuple(range(len(shape)))))
    waiting: dict[int, Any] = {}
    for step in writer.fused.steps:
        if step.primitive in EXPRESSIONS:
            last = writer.fused.loops[step.results[0]]
            waiting.setdefault(last, []).append(step)
            if last == step.results[0]:
                write_loop(writer, waiting.pop(last), writer.reads)
        elif step.primitive in RULES:
            RULES[step.primitive](writer, step)
        else:
            raise writer.refuse(step)
    for value in writer.fused.final:
        shape = writer.shape(value)
        logits = View(Buffer(FLOAT, int(np.prod(shape)), name="logits"), contiguous(shape, tuple(range(len(shape)))))
        writer.copy(writer.view(value), logits)
    return writer


def text_of(writer: Writer, architecture: Mapping[str, Any]) -> str:
    """Return the C file of a program; `architecture` is the document of its network."""
    name = name_of(architecture)
    pools = {kind: size for kind, size in place(writer.operations).items() if size}
    body = []
    for operation in writer.operations:
        body += [f"/* {operation.title} */"] if operation.title else []
        body += operation.lines()
    kernels = [kernel_text(variant, body_of(variant)) for variant in sorted(writer.variants, key=lambda one: one.name)]
    layers = {variant.layer: layer_text(variant) for variant in writer.variants}
    everything = "\n".join([*kernels, *body])
    inputs = int(np.prod(writer.shape(writer.fused.graph.pixels)))
    outputs = int(np.prod(writer.shape(writer.fused.final[0])))
    parts = [
        _comment(name, architecture, writer, pools),
        _declarations(name, inputs, outputs),
        f"#ifndef {name.upper()}_HEADER",
        "",
        *[f"#include <{header}.h>" for header in _headers(everything)],
        "",
        *([FIXED] if kernels else []),
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
    return "\n".join(parts) + "\n"


def _comment(name: str, architecture: Mapping[str, Any], writer: Writer, pools: Mapping[str, int]) -> str:
    """Return the comment at the head of a file: where it comes from, what it costs, and how it is used."""
    buffers = sum(BYTES[kind] * size for kind, size in pools.items())
    living, stored = (sum(getattr(one, which) for one in writer.operations) for which in ("living", "stored"))
    lines = [
        f"{architecture.get('ancestor', 'A network')}, generation {architecture['generation']}; synevo {__version__}",
        "",
        f"void {name}(const uint8_t *pixels, float *logits);",
        "",
        *_interface(architecture),
        "",
        f"static buffers: {buffers} bytes; constants: {writer.constant_bytes} bytes",
        f"multiply-adds: {living} of living synapses, {stored} of all",
        "",
        "It needs a C99 or C++ compiler and <math.h>, no heap and no file, and computes one example a call.",
        "Buffers are static: two threads must not call it at the same time.",
        f"As a header: #define {name.upper()}_HEADER, then #include this file.",
        f"As a program, from pixels on stdin to logits on stdout: cc -O2 -D{name.upper()}_MAIN FILE -lm",
    ]
    return "\n".join(["/*", *(f" * {line}".rstrip() for line in lines), " */"])


def _interface(architecture: Mapping[str, Any]) -> list[str]:
    """Return what the pixels and the logits of a network for images are."""
    shape, classes = tuple(architecture["input"]["shape"]), architecture["classes"]
    return [
        f"pixels: {' x '.join(map(str, shape))} (rows, columns, channels), 0 ... 255; normalisation is part of it",
        f"logits: {len(classes)}; the largest is the class",
    ]


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
