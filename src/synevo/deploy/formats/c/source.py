"""The C file: what it says about itself, its constants, its loops, and one function for a network."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from synevo import __version__
from synevo.deploy.formats.c.bodies import body_of
from synevo.deploy.formats.c.elementwise import write_loop
from synevo.deploy.formats.c.expressions import EXPRESSIONS
from synevo.deploy.formats.c.fusing import Fused
from synevo.deploy.formats.c.kernels import FIXED, kernel_text, layer_text
from synevo.deploy.formats.c.loops import indented
from synevo.deploy.formats.c.ports import TYPES, Port, described, parameters, ports_of
from synevo.deploy.formats.c.rules import RULES
from synevo.deploy.formats.c.values import FLOAT, POOLS, Buffer, Quantum, View, contiguous, place
from synevo.deploy.formats.c.writer import BYTES, Writer
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


def written(fused: Fused, quanta: Mapping[int, Quantum] | None = None) -> Writer:
    """Return the writer of a program once all of its steps are written, in whole numbers where `quanta` says so.

    Raises:
        ExportError: if a step has no counterpart in C; the message names the line of the user's model.
    """
    writer = Writer(fused, dict(quanta or {}))
    graph = fused.graph
    given, wanted = ports_of(graph)
    for value, port in zip(graph.inputs, given, strict=True):
        writer.values[value] = _of_port(port)
    waiting: dict[int, Any] = {}
    for step in writer.fused.steps:
        _require_known(writer, step)
        if step.primitive in EXPRESSIONS:
            last = writer.fused.loops[step.results[0]]
            waiting.setdefault(last, []).append(step)
            if last == step.results[0]:
                write_loop(writer, waiting.pop(last), writer.reads)
        elif step.primitive in RULES:
            RULES[step.primitive](writer, step)
        else:
            raise writer.refuse(step)
    for output, port in zip(fused.outputs, wanted, strict=True):
        writer.copy(writer.view(output), _of_port(port))
    return writer


def _of_port(port: Port) -> View:
    """Return where an array stands that is taken or given, with the axis of its example."""
    shape = (1, *port.shape)
    return View(Buffer(port.kind, port.size, name=port.name), contiguous(shape, tuple(range(len(shape)))))


def _require_known(writer: Writer, step: Step) -> None:
    """Raise ExportError if a step's results are of a dtype that C has no numbers for."""
    for result in step.results:
        if str(writer.dtype(result)) not in TYPES:
            raise writer.refuse(step, f"it computes in {writer.dtype(result)}")


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
    given, wanted = ports_of(writer.fused.graph)
    parts = [
        _comment(name, architecture, writer, pools),
        _declarations(name, given, wanted),
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
        f"void {name}({parameters(given, wanted)})",
        "{",
        *[f"  (void){port.name};" for port in given if not re.search(rf"\b{port.name}\b", "\n".join(body))],
        *indented(body),
        "}",
        _main(name, given, wanted),
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
        f"void {name}({parameters(*ports_of(writer.fused.graph))});",
        "",
        *_interface(writer, architecture),
        "",
        f"static buffers: {buffers} bytes; constants: {writer.constant_bytes} bytes",
        f"multiply-adds: {living} of living synapses, {stored} of all",
        "",
        "It needs a C99 or C++ compiler and <math.h>, no heap and no file, and computes one example a call.",
        "Buffers are static: two threads must not call it at the same time.",
        f"As a header: #define {name.upper()}_HEADER, then #include this file.",
        f"As a program, from examples on stdin to a line of numbers each: cc -O2 -D{name.upper()}_MAIN FILE -lm",
    ]
    return "\n".join(["/*", *(f" * {line}".rstrip() for line in lines), " */"])


def _interface(writer: Writer, architecture: Mapping[str, Any]) -> list[str]:
    """Return what the arrays of a network are, and what those of a network for images mean."""
    given, wanted = ports_of(writer.fused.graph)
    if not {"input", "classes"} <= architecture.keys():
        return [*(described(port, "taken") for port in given), *(described(port, "given") for port in wanted)]
    ((pixels,), (logits,)) = given, wanted
    normalised = "rows, columns, channels, 0 ... 255; normalisation is part of it"
    return [described(pixels, "taken", normalised), described(logits, "given", "the largest is the class")]


def _declarations(name: str, given: Sequence[Port], wanted: Sequence[Port]) -> str:
    upper = name.upper()
    sizes = "\n".join(f"#define {upper}_{port.name.upper()} {port.size}" for port in (*given, *wanted))
    return f"""\
#ifndef {upper}_DECLARED
#define {upper}_DECLARED
#include <stdint.h>
{sizes}
#ifdef __cplusplus
extern "C" {{
#endif
void {name}({parameters(given, wanted)});
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


def _main(name: str, given: Sequence[Port], wanted: Sequence[Port]) -> str:
    """Return the program that reads examples, an array after another, and prints what the function gives."""
    upper, ports = name.upper(), (*given, *wanted)
    arrays = [f"static {port.kind} {port.name}[{upper}_{port.name.upper()}];" for port in ports]
    read = [f"fread({port.name}, 1, sizeof {port.name}, stdin) == sizeof {port.name}" for port in given]
    printed = [
        f'for (int i = 0; i < {upper}_{port.name.upper()}; i++) printf("{form} ", {cast}{port.name}[i]);'
        for port in wanted
        for form, cast in [("%.9g", "(double)") if port.kind == FLOAT else ("%d", "(int)")]
    ]
    return "\n".join(
        [
            "",
            f"#ifdef {upper}_MAIN",
            "#include <stdio.h>",
            "int main(void)",
            "{",
            *indented(arrays),
            f"  while ({' && '.join(read)}) {{",
            *indented(indented([f"{name}({', '.join(port.name for port in ports)});", *printed, 'puts("");'])),
            "  }",
            "  return 0;",
            "}",
            "#endif",
        ]
    )


def name_of(architecture: Any) -> str:
    """Return the name of a network's function: its ancestor's and its generation, such as `lenet5_g08`."""
    ancestor = str(architecture.get("ancestor", "network")).rpartition(":")[2]
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", ancestor.rpartition(".")[2])
    clean = re.sub(r"\W+", "_", snake).strip("_").lower() or "network"
    clean = clean if clean[0].isalpha() else f"network_{clean}"
    return f"{clean}_g{int(architecture['generation']):02d}"
