"""Ports: the arrays that a C function takes and gives for one example, a pointer each.

    void pair_g02(const int32_t *batch_tokens, const float *weight, float *logits);

The comment at the head of a file describes each in a line that `PORT` reads: its name in C, whether it is taken or
given, the type of its elements, and its sizes, the last axis side by side.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from synevo.deploy.formats.c.values import FLOAT, WORD
from synevo.deploy.formats.graph import Graph, is_symbolic
from synevo.deploy.interface import BATCH, Leaf
from synevo.errors import ExportError

TYPES = {
    "float32": FLOAT,
    "int32": WORD,
    "int16": "int16_t",
    "int8": "int8_t",
    "uint16": "uint16_t",
    "uint8": "uint8_t",
    "bool": "uint8_t",
}
"""The type in C of the arrays that may be taken and given, by their dtype."""

PORT = re.compile(r"^ \* (\w+): (taken|given), (\w+) \[([\d, ]*)\]", re.MULTILINE)
"""What stands for a port in the comment of a file."""

_KEYWORDS = re.compile(
    r"alignas|alignof|and|and_eq|asm|auto|bitand|bitor|bool|break|case|catch|char|class|compl|concept|const|consteval"
    r"|constexpr|constinit|const_cast|continue|co_await|co_return|co_yield|decltype|default|delete|do|double"
    r"|dynamic_cast|else|enum|explicit|export|extern|false|float|for|friend|goto|if|inline|int|long|mutable|namespace"
    r"|new|noexcept|not|not_eq|nullptr|operator|or|or_eq|private|protected|public|register|reinterpret_cast|requires"
    r"|restrict|return|short|signed|sizeof|static|static_assert|static_cast|struct|switch|template|this|thread_local"
    r"|throw|true|try|typedef|typeid|typename|typeof|union|unsigned|using|virtual|void|volatile|wchar_t|while|xor"
    r"|xor_eq"
)
"""The words of C and C++."""

_OWN = re.compile(
    r"main|header|declared|s|n|i|k|at|best|floats|bytes|words|bounded|whole|mem\w+|is\w+|once|four|sixteen|stdin|fread|printf|\w+_g\d+"
    r"|(v|x|i|k|p|layer|constant|places|weights|counts|bias|factors)\d+q?"
    r"|(rows|blocks|across|single|layer)\d*\w*_\w+|\w+_t"
    r"|(a?(sin|cos|tan)h?|atan2|exp2?|expm1|log|log1p|pow|sqrt|cbrt|erfc?|floor|ceil|fmod|rint|round)f?"
)
"""Names that a file gives to what is its own, or that C's library has."""


@dataclass(frozen=True)
class Port:
    """An array that a C function takes or gives: its name in C and in the network, its type and sizes an example."""

    name: str
    leaf: str
    kind: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of its elements."""
        return int(np.prod(self.shape, dtype=int))


def ports_of(graph: Graph) -> tuple[list[Port], list[Port]]:
    """Return what a C function takes and gives for one example.

    Raises:
        ExportError: if an array is of a dtype that C has not, or has no row an example.
    """
    taken: set[str] = set()
    given, wanted = ([_port(leaf, taken) for leaf in leaves] for leaves in (graph.given, graph.wanted))
    return given, wanted


def _port(leaf: Leaf, taken: set[str]) -> Port:
    if leaf.dtype not in TYPES:
        raise ExportError(
            f"{leaf.name} is made of {leaf.dtype}, which C has no numbers for.",
            remedy="Write the model so that it takes and gives float32 or int32, or export to onnx or stablehlo.",
        )
    if leaf.shape[:1] != (BATCH,) or any(map(is_symbolic, leaf.shape[1:])):
        raise ExportError(
            f"{leaf.name} has the sizes [{', '.join(map(str, leaf.shape))}], and a C function computes one example: "
            "arrays must have one row an example.",
            remedy="Write the model so that the first axis of what it gives is the batch, or export to onnx.",
        )
    name = _name(leaf.name)
    while name in taken:
        name += "_"
    taken.add(name)
    return Port(name, leaf.name, TYPES[leaf.dtype], tuple(int(size) for size in leaf.shape[1:]))


def _name(leaf: str) -> str:
    """Return the name of an array as C and C++ allow it, beside the names of a file itself."""
    clean = re.sub(r"[^A-Za-z0-9_]+", "_", leaf).strip("_").lower() or "array"
    clean = clean if clean[0].isalpha() else f"array_{clean}"
    return f"{clean}_" if _KEYWORDS.fullmatch(clean) or _OWN.fullmatch(clean) else clean


def parameters(given: Iterable[Port], wanted: Iterable[Port]) -> str:
    """Return the parameters of a C function."""
    taken = [f"const {port.kind} *{port.name}" for port in given]
    return ", ".join([*taken, *(f"{port.kind} *{port.name}" for port in wanted)])


def described(port: Port, how: str, meaning: str = "") -> str:
    """Return the line of a comment about a port that is `taken` or `given`."""
    leaf = re.sub(r"[^ -~]|\*/", "?", port.leaf)
    own = f"; {leaf} of the network" if leaf != port.name else ""
    return f"{port.name}: {how}, {port.kind} [{', '.join(map(str, port.shape))}]{own}{'; ' if meaning else ''}{meaning}"


def read_ports(text: str) -> tuple[list[Port], list[Port]]:
    """Return what the function of a C file takes and gives, by the comment at its head."""
    found: dict[str, list[Port]] = {"taken": [], "given": []}
    for name, how, kind, sizes in PORT.findall(text):
        found[how].append(Port(name, "", kind, tuple(int(size) for size in sizes.split(",") if size.strip())))
    return found["taken"], found["given"]
