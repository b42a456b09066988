"""The loops that walk through tables of synapses: which there are, how fast they are, and their frame in C.

    rows     one output, a block of pixels:        sum[pixel] += weight · in[place + pixel]
    blocks   four outputs, eight pixels:           their places are one list; a weight may be zero
    across   8 or 16 outputs, pixel by pixel:      for a dense layer
    single   one output, pixel by pixel:           for a sparse dense layer

A file holds those that its layers need (`synevo.deploy.formats.c.float_loops`, `whole_loops`).
"""

from dataclasses import dataclass

from synevo.deploy.formats.c.values import BYTE, FLOAT


@dataclass(frozen=True)
class Kernel:
    """A loop: the outputs that share a list of places, and the rows and columns of a block of pixels.

    `ns` are nanoseconds a multiply-add, `ns_block` those to begin and end a block of one output: the best of 200 rounds
    with 4, 20 and 150 synapses an output, gcc 12 -O2 without a flag for the machine, on a Xeon of 2023. A list of
    `pairs` has an even number of places.
    """

    name: str
    outputs: int
    rows: int
    columns: int
    ns: float
    ns_block: float
    pairs: bool = False


SINGLE = Kernel("single", 1, 1, 1, 0.29, 2.0)
BLOCKS = Kernel("blocks4x8", 4, 1, 8, 0.056, 3.0)

KERNELS = {
    FLOAT: (
        Kernel("rows1x16", 1, 1, 16, 0.075, 3.0),
        Kernel("rows2x8", 1, 2, 8, 0.062, 3.0),
        Kernel("rows4x4", 1, 4, 4, 0.065, 3.0),
        BLOCKS,
        Kernel("across8", 8, 1, 1, 0.07, 2.0),
        SINGLE,
    ),
    BYTE: (
        Kernel("rows1x16", 1, 1, 16, 0.115, 12.0, pairs=True),
        Kernel("across16", 16, 1, 1, 0.115, 2.0, pairs=True),
        SINGLE,
    ),
}
"""The loops for floats, and for whole numbers."""

FIXED = """\
#if defined(__GNUC__) && !defined(__clang__)
#define ONCE _Pragma("GCC unroll 1") /* or else -O3 unrolls these loops before it vectorises them */
#else
#define ONCE
#endif
#define FOUR ONCE for (int i = 0; i < 4; i++)
#define SIXTEEN ONCE for (int i = 0; i < 16; i++)
"""

_SHORT = {FLOAT: "f", BYTE: "q"}


@dataclass(frozen=True)
class Variant:
    """A kernel for a type of places, of what it reads (floats or whole numbers), and of what it writes."""

    kernel: Kernel
    place: str
    source: str
    target: str

    @property
    def name(self) -> str:
        """The name of the C function."""
        return f"{self.kernel.name}_{_SHORT[self.source]}{_SHORT[self.target]}{self._wide}"

    @property
    def layer(self) -> str:
        """The name of the C type of its layers."""
        return f"layer_{_SHORT[self.source]}{self._wide}"

    @property
    def _wide(self) -> str:
        return "" if self.place == "uint16_t" else "w"

    def finished(self, total: str, factor: str) -> str:
        """Return the C text of a result: its sum, scaled if it is one of whole numbers, between its bounds."""
        if self.source == FLOAT:
            return f"bounded({total}, low, high)"
        scaled = f"(float){total} * {factor}"
        return (
            f"bounded({scaled}, low, high)" if self.target == FLOAT else f"whole(bounded({scaled} + zero, low, high))"
        )


def layer_text(variant: Variant) -> str:
    """Return the definition of the C type of a variant's layers."""
    whole = variant.source == BYTE
    lines = [
        "typedef struct {",
        f"  const {variant.place} *places;  /* of each output, or block of outputs, in turn */",
        f"  const {variant.source} *weights;",
        "  const uint16_t *counts;  /* the number of places of each */",
        f"  const {'int32_t' if whole else FLOAT} *bias;",
        *(
            ["  const float *factors;  /* of each output, from its sum to its result */", "  float zero;"]
            if whole
            else []
        ),
        "  int outputs, rows, columns, in_row, in_column, out_channel, out_row, out_column;",
        "  float low, high;",
        f"}} {variant.layer};",
    ]
    return "\n".join(lines) + "\n"


def kernel_text(variant: Variant, body: str) -> str:
    """Return the definition of a variant's C function around its body."""
    pixelwise = variant.kernel.columns == 1
    lines = [
        f"static void {variant.name}(const {variant.source} *in, {variant.target} *out, const {variant.layer} *l)",
        "{",
        f"  const {variant.place} *places = l->places;",
        f"  const {variant.source} *weights = l->weights;",
        "  const int outputs = l->outputs, rows = l->rows, columns = l->columns, in_row = l->in_row;",
        "  const int out_row = l->out_row, out_channel = l->out_channel;",
        *(["  const int in_column = l->in_column, out_column = l->out_column;"] if pixelwise else []),
        "  const float low = l->low, high = l->high;",
        *(["  const float zero = l->zero;"] if variant.source == variant.target == BYTE else []),
        *(f"  {line}" for line in body.strip("\n").splitlines()),
        "}",
    ]
    return "\n".join(lines) + "\n"
