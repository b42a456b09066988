"""The writer of a C program: where each value stands, the operations so far, and the constants that they read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.deploy.formats.c.fusing import Fused
from synevo.deploy.formats.c.kernels import Variant
from synevo.deploy.formats.c.loops import Places, walk
from synevo.deploy.formats.c.values import (
    BYTE,
    FLOAT,
    WORD,
    Buffer,
    Operation,
    Quantum,
    View,
    contiguous,
    number,
    storage_order,
)
from synevo.deploy.formats.graph import unsupported
from synevo.wiring.tracing import Operand, Step

CHANNEL_AXES = 2
"""The axes of a convolution's signal before its places: batch and channels."""


@dataclass(frozen=True)
class Frame:
    """The places of a value with its margins, which hold zero: `low` and `high` are their widths, one an axis."""

    buffer: Buffer
    places: Places
    low: tuple[int, ...]
    high: tuple[int, ...]


@dataclass
class Writer:
    """Collects the operations and the tables of a C program.

    `quanta` says what whole numbers stand for, by value; values that are not in it are floats. `reads` are what a loop
    reads in place of a value that has no buffer, because it is reduced where it is read.
    """

    fused: Fused
    quanta: dict[int, Quantum] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    values: dict[int, View] = field(default_factory=dict)
    reads: dict[Any, Any] = field(default_factory=dict)
    frames: dict[int, Frame] = field(default_factory=dict)
    tables: dict[tuple[str, bytes], str] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    variants: set[Variant] = field(default_factory=set)
    constant_bytes: int = 0

    def shape(self, value: Operand) -> tuple[int, ...]:
        """Return the sizes of a value, for one example."""
        return tuple(int(size) for size in self.fused.graph.shape(value))

    def dtype(self, value: Operand) -> np.dtype[Any]:
        """Return the dtype of a value."""
        known = self.fused.graph.known(value)
        return known.dtype if known is not None else np.dtype(self.fused.graph.dtypes[value])  # type: ignore[index]

    def literal(self, operand: Operand) -> str | None:
        """Return the C text of an operand that is one known number everywhere; None for others."""
        known = self.fused.graph.known(operand)
        if known is None or not known.size or not (known == known.flat[0]).all():
            return None
        return number(known.flat[0])

    def view(self, operand: Operand) -> View:
        """Return where an operand stands; a known one becomes a constant, without the axes along which it is equal."""
        known = self.fused.graph.known(operand)
        if known is None:
            assert isinstance(operand, int)
            return self.values[operand]
        small = known
        for axis in range(known.ndim):
            first = small.take([0], axis)
            small = first if (small == first).all() else small
        kind = FLOAT if np.issubdtype(known.dtype, np.floating) else WORD
        buffer = Buffer(kind, small.size, name=self.table(small.reshape(-1), kind))
        return View(buffer, np.broadcast_to(contiguous(small.shape, tuple(range(small.ndim))), known.shape))

    def table(self, values: NDArray[Any], kind: str, name: str = "constant") -> str:
        """Store a constant array of C's type `kind`, once, and return its name."""
        stored = np.asarray(values, {FLOAT: np.float32, BYTE: np.int8, WORD: np.int32}.get(kind, np.int64))
        key = (kind, stored.tobytes())
        if key not in self.tables:
            self.tables[key] = f"{name}{len(self.tables)}"
            self.texts.append(array_text(self.tables[key], kind, stored))
            self.constant_bytes += stored.size * BYTES[kind]
        return self.tables[key]

    def layer(self, variant: Variant, fields: Iterable[str]) -> str:
        """Store the constant that describes a layer to the loop of a variant, and return its name."""
        name = f"layer{len(self.layers)}"
        self.layers.append(f"static const {variant.layer} {name} = {{{', '.join(fields)}}};")
        self.variants.add(variant)
        return name

    def framed(self, value: int) -> bool:
        """Return True if a value gets margins."""
        margins = self._margins(value)
        return margins is not None and any((*margins[1], *margins[2]))

    def places_table(self, places: Places) -> str:
        """Store a table of places, in as few bytes as they need, and return its name."""
        return self.table(places, place_type(int(places.max(initial=0))), "places")

    def make(self, value: int, like: Places | None = None) -> View:
        """Return a new buffer for a value, with margins where convolutions will want them.

        Its axes stand as the convolutions that read it want them, or else as in `like`, or else in their own order.
        """
        shape, margins = self.shape(value), self._margins(value)
        order = margins[0] if margins else storage_order(like) if like is not None else tuple(range(len(shape)))
        low, high = margins[1:] if margins else ((0,) * len(shape), (0,) * len(shape))
        whole = tuple(before + size + after for before, size, after in zip(low, shape, high, strict=True))
        buffer = Buffer(self.kind(value), int(np.prod(whole)), self.quanta.get(value))
        places = contiguous(whole, order)
        inside = places[tuple(slice(before, before + size) for before, size in zip(low, shape, strict=True))]
        if self.framed(value):
            self.frames[value] = Frame(buffer, places, low, high)
            self.clear(buffer)
        self.values[value] = View(buffer, inside)
        return self.values[value]

    def kind(self, value: int) -> str:
        """Return the type of the elements of a value's buffer."""
        dtype = self.dtype(value)
        if dtype == np.float32:
            return BYTE if value in self.quanta else FLOAT
        return BYTE if dtype == np.bool_ else WORD

    def clear(self, buffer: Buffer) -> None:
        """Fill a buffer with zeros before it is written, for its margins."""

        def lines() -> list[str]:
            zero = buffer.quantum.zero if buffer.quantum else 0
            return [f"memset({buffer.pointer()}, {zero}, sizeof(*({buffer.pointer()})) * {buffer.size});"]

        self.operations.append(Operation("", (), buffer, lines))

    def copy(self, view: View, target: View, title: str = "", pieces: Iterable[Any] = (...,)) -> None:
        """Copy the elements of a view to the places of another, piece by piece."""
        walks = [
            walk([to, source], storage_order(to), self.places_table)
            for to, source in ((target.places[piece], view.places[piece]) for piece in pieces)
            if to.size
        ]

        def lines() -> list[str]:
            made = []
            for one in walks:
                value = load(view.buffer, one.index(1), one.starts[1], raw=view.buffer.quantum == target.buffer.quantum)
                stored = store(
                    target.buffer, one.index(0), one.starts[0], value, raw=view.buffer.quantum == target.buffer.quantum
                )
                made += one.around([stored])
            return made

        self.operations.append(Operation(title, (view.buffer,), target.buffer, lines))

    def fill(self, target: View, text: str, *, raw: bool = False) -> None:
        """Add the operation that writes one number everywhere; a whole number as it is if it is `raw`."""
        loops = walk([target.places], storage_order(target.places), self.places_table)

        def lines() -> list[str]:
            return loops.around([store(target.buffer, loops.index(0), loops.starts[0], text, raw=raw)])

        self.operations.append(Operation("", (), target.buffer, lines))

    def insert(
        self,
        view: View,
        target: View,
        low: Sequence[int],
        stretch: Sequence[int],
        *,
        title: str = "",
        pieces: Iterable[Any] = (...,),
    ) -> None:
        """Add the operation that copies a view so that its element i of an axis stands at low + i · stretch.

        What would stand outside is left out. It is copied piece by piece of what lies inside.
        """
        source, into = [], []
        for first, gap, size, end in zip(low, stretch, view.places.shape, target.places.shape, strict=True):
            kept = [index for index in range(size) if 0 <= first + index * gap < end]
            if not kept:
                return
            source.append(slice(kept[0], kept[-1] + 1))
            into.append(slice(first + kept[0] * gap, first + kept[-1] * gap + 1, gap))
        self.copy(view.moved(view.places[tuple(source)]), target.moved(target.places[tuple(into)]), title, pieces)

    def whole(self, view: View, order: tuple[int, ...] | None = None) -> View:
        """Return a copy of a view whose elements stand one after another, its axes in this order."""
        shape = view.places.shape
        buffer = Buffer(held(view.buffer.kind), int(np.prod(shape)), view.buffer.quantum)
        target = View(buffer, contiguous(shape, order or tuple(range(len(shape)))))
        self.copy(view, target)
        return target

    def _margins(self, value: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
        """Return the order of axes and the margins that the convolutions which read a value want; None without one."""
        wanted = [
            step.parameters
            for step in self.fused.readers.get(value, ())
            if step.primitive == "conv_general_dilated" and step.operands[0] == value
        ]
        if not wanted:
            return None
        order = tuple(wanted[0]["dimension_numbers"].lhs_spec)
        low, high = [0] * len(order), [0] * len(order)
        for of in wanted:
            if {*of["window_strides"], *of["lhs_dilation"]} == {1}:
                for axis, (before, after) in zip(
                    of["dimension_numbers"].lhs_spec[CHANNEL_AXES:], of["padding"], strict=True
                ):
                    low[axis], high[axis] = max(low[axis], before), max(high[axis], after)
        return order, tuple(low), tuple(high)

    def refuse(self, step: Step, why: str = "") -> Exception:
        """Return the error for a step that cannot be written."""
        return unsupported(step, "C", why)


BYTES = {FLOAT: 4, BYTE: 1, WORD: 4, "uint16_t": 2, "uint32_t": 4}
"""The size of an element, by its type."""

MOST_IN_LINE = 110
"""The width of the lines of a table."""


def held(kind: str) -> str:
    """Return the type of the buffer that holds elements of this type, which may be that of an argument."""
    return kind if kind in (FLOAT, BYTE, WORD) else WORD


def place_type(largest: int) -> str:
    """Return the smallest type that holds all places up to this one."""
    return "uint16_t" if largest <= np.iinfo(np.uint16).max else "uint32_t"


def array_text(name: str, kind: str, values: NDArray[Any]) -> str:
    """Return the definition of a constant array in C."""
    texts = values.astype(str).tolist()  # the shortest that are read back as the same numbers
    words = [f"{text}f" for text in texts] if kind == FLOAT else texts
    if kind == FLOAT and not np.isfinite(values).all():
        words = list(map(number, values))
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > MOST_IN_LINE:
            lines.append(line)
            line = ""
        line += f" {word},"
    return "\n".join([f"static const {kind} {name}[{values.size}] = {{", *lines, line.rstrip(","), "};"])


def load(buffer: Buffer, index: str, start: int, *, raw: bool = False) -> str:
    """Return the C text that reads an element; a whole number as the float that it stands for, unless it is `raw`."""
    element = buffer.at(index, start)
    return element if buffer.quantum is None or raw else standing(element, buffer.quantum)


def standing(whole: str, quantum: Quantum) -> str:
    """Return the C text of what a whole number stands for."""
    return f"(float)({whole} - ({quantum.zero})) * {number(np.float32(quantum.scale))}"


def store(buffer: Buffer, index: str, start: int, value: str, *, raw: bool = False) -> str:
    """Return the C text that writes an element."""
    element = buffer.at(index, start)
    if buffer.quantum is not None and not raw:
        inverse = number(np.float32(1 / buffer.quantum.scale))
        return f"{element} = whole(({value}) * {inverse} + {number(np.float32(buffer.quantum.zero))});"
    if buffer.kind not in (FLOAT, WORD):
        return f"{element} = ({buffer.kind})({value});"
    return f"{element} = {value};"
