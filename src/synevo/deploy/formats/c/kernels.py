"""The loops that walk through tables of synapses, as C text; a file holds those that its layers need.

    rows     one output, a block of pixels:       acc[pixel] += weight · in[place + pixel]
    blocks   four outputs, eight pixels:          their places are one list; a weight may be zero
    across   eight outputs, pixel by pixel:       for a dense layer
    single   one output, pixel by pixel:          for a sparse dense layer

Sums stand in arrays of four, which every compiler keeps in a vector register. `ns` are nanoseconds a multiply-add,
measured with gcc 12 -O2 on a Xeon (SSE2), for 20 to 150 synapses an output: medians of 200 rounds.
"""

from dataclasses import dataclass

from synevo.deploy.formats.c.values import BYTE, FLOAT

LANES = 4
"""The width of a vector register, in floats."""

OUTPUTS_OF_BLOCKS, OUTPUTS_OF_ACROSS = 4, 8


@dataclass(frozen=True)
class Kernel:
    """A loop: the outputs that share a list of places, and the rows and columns of a block of pixels.

    `ns` is the time of a multiply-add, `ns_block` that of beginning and ending a block of one output.
    """

    name: str
    outputs: int
    rows: int
    columns: int
    ns: float
    ns_block: float


ROWS = (
    Kernel("rows1x16", 1, 1, 16, 0.075, 3.0),
    Kernel("rows2x8", 1, 2, 8, 0.062, 3.0),
    Kernel("rows4x4", 1, 4, 4, 0.065, 3.0),
)
BLOCKS = Kernel("blocks4x8", OUTPUTS_OF_BLOCKS, 1, 8, 0.056, 3.0)
ACROSS = Kernel("across8", OUTPUTS_OF_ACROSS, 1, 1, 0.07, 2.0)
SINGLE = Kernel("single", 1, 1, 1, 0.29, 2.0)

PRELUDE = """\
#if defined(__GNUC__) && !defined(__clang__)
#define FOUR _Pragma("GCC unroll 1") for (int i = 0; i < 4; i++) /* -O3 would unroll it before it vectorises it */
#else
#define FOUR for (int i = 0; i < 4; i++)
#endif
"""

LAYER = """\
typedef struct {{
  const {place} *places;  /* of each output or block of outputs in turn, relative to the first pixel */
  const {weight} *weights;
  const {count} *counts;  /* the number of places of each */
  const {bias} *bias;
{more}  int outputs, rows, columns, in_row, in_column, out_channel, out_row, out_column;
  float low, high;
}} {name};
"""


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
        return f"{self.kernel.name}_{_SHORT[self.source]}{_SHORT[self.target]}{'' if self.place == 'uint16_t' else 'w'}"

    @property
    def layer(self) -> str:
        """The name of the C type of its layers."""
        return f"layer_{_SHORT[self.source]}{'' if self.place == 'uint16_t' else 'w'}"

    @property
    def total(self) -> str:
        """The C type of its sums."""
        return FLOAT if self.source == FLOAT else "int32_t"

    @property
    def zero(self) -> str:
        """The C text of nothing."""
        return "0.0f" if self.source == FLOAT else "0"


_SHORT = {FLOAT: "f", BYTE: "q"}


def layer_text(variant: Variant) -> str:
    """Return the definition of the C type of a variant's layers."""
    more = (
        ""
        if variant.source == FLOAT
        else "  const float *factors;  /* from a sum to what it stands for */\n  float zero;\n"
    )
    return LAYER.format(
        place=variant.place,
        weight=variant.source,
        count="uint16_t",
        bias=variant.total,
        more=more,
        name=variant.layer,
    )


def kernel_text(variant: Variant) -> str:
    """Return the definition of a variant's C function."""
    writers = {"blocks4x8": _blocks, "across8": _across, "single": _single}
    lines = writers.get(variant.kernel.name, _rows)(variant)
    head = [
        f"static void {variant.name}(const {variant.source} *in, {variant.target} *out, const {variant.layer} *l)",
        "{",
        f"  const {variant.place} *places = l->places;",
        f"  const {variant.source} *weights = l->weights;",
        "  const int outputs = l->outputs, rows = l->rows, columns = l->columns, in_row = l->in_row;",
        "  const int out_row = l->out_row, out_channel = l->out_channel;",
        "  const float low = l->low, high = l->high;",
    ]
    if variant.source == BYTE and variant.target == BYTE:
        head.append("  const float zero = l->zero;")
    if variant.kernel.columns == 1:
        head.append("  const int in_column = l->in_column, out_column = l->out_column;")
    return "\n".join([*head, *(f"  {line}" for line in lines), "}"]) + "\n"


def _finished(variant: Variant, total: str, factor: str = "factor") -> str:
    """Return the C text of a result: its sum between the bounds."""
    if variant.source == FLOAT:
        return f"bounded({total}, low, high)"
    scaled = f"(float){total} * {factor}"
    return f"bounded({scaled}, low, high)" if variant.target == FLOAT else f"whole(bounded({scaled} + zero, low, high))"


def _factor(variant: Variant) -> list[str]:
    return [] if variant.source == FLOAT else ["  const float factor = l->factors[o];"]


def _rows(variant: Variant) -> list[str]:
    rows, columns = variant.kernel.rows, variant.kernel.columns
    groups = [(row, place) for row in range(rows) for place in range(columns // LANES)]
    names = {pair: f"s{number}" for number, pair in enumerate(groups)}
    sums = ", ".join(f"{name}[4]" for name in names.values())
    body = [
        "for (int o = 0; o < outputs; o++, out += out_channel) {",
        "  const int count = l->counts[o];",
        f"  const {variant.total} bias = l->bias[o];",
        *_factor(variant),
        f"  for (int r = 0; r < rows; r += {rows})",
        f"    for (int c = 0; c < columns; c += {columns}) {{",
        f"      const {variant.source} *corner = in + r * in_row + c;",
        f"      {variant.target} *to = out + r * out_row + c;",
        f"      const int tall = rows - r < {rows} ? rows - r : {rows};" if rows > 1 else "",
        f"      const int wide = columns - c < {columns} ? columns - c : {columns};",
        f"      {variant.total} {sums};",
        *(f"      FOUR {name}[i] = bias;" for name in names.values()),
        "      for (int t = 0; t < count; t++) {",
        f"        const {variant.source} *p = corner + places[t];",
        f"        const {variant.total} w = weights[t];",
    ]
    for (row, place), name in names.items():
        if row and not place:
            body.append("        p += in_row;")
        body.append(f"        FOUR {name}[i] += w * p[{LANES * place} + i];")
    body.append("      }")
    full = f"wide == {columns}" + (f" && tall == {rows}" if rows > 1 else "")
    body.append(f"      if ({full}) {{")
    for (row, place), name in names.items():
        offset = " + ".join([*([f"{row} * out_row"] if row else []), *([str(LANES * place)] if place else []), "i"])
        body.append(f"        FOUR to[{offset}] = {_finished(variant, f'{name}[i]')};")
    body += ["      } else {", f"        {variant.target} block[{rows * columns}];"]
    for (row, place), name in names.items():
        body.append(f"        FOUR block[{row * columns + LANES * place} + i] = {_finished(variant, f'{name}[i]')};")
    across = f"for (int x = 0; x < wide; x++)"
    if rows > 1:
        body.append(f"        for (int y = 0; y < tall; y++)")
        body.append(f"          {across} to[y * out_row + x] = block[{columns} * y + x];")
    else:
        body.append(f"        {across} to[x] = block[x];")
    body += ["      }", "    }", "  places += count;", "  weights += count;", "}"]
    return [line for line in body if line]


def _blocks(variant: Variant) -> list[str]:
    names = {(output, place): f"s{output}{place}" for output in range(4) for place in range(2)}
    body = [
        "for (int o = 0, b = 0; o < outputs; o += 4, b++, out += 4 * out_channel) {",
        "  const int count = l->counts[b], several = outputs - o < 4 ? outputs - o : 4;",
        "  for (int r = 0; r < rows; r++)",
        "    for (int c = 0; c < columns; c += 8) {",
        f"      const {variant.source} *corner = in + r * in_row + c, *w = weights;",
        "      const int wide = columns - c < 8 ? columns - c : 8;",
        f"      {variant.total} {', '.join(f'{name}[4]' for name in names.values())};",
    ]
    body += [f"      FOUR {name}[i] = l->bias[o + {output}];" for (output, _), name in names.items()]
    body += [
        "      for (int t = 0; t < count; t++, w += 4) {",
        f"        const {variant.source} *p = corner + places[t];",
        *(
            f"        FOUR {name}[i] += w[{output}] * p[{LANES * place} + i];"
            for (output, place), name in names.items()
        ),
        "      }",
        f"      {variant.target} block[32];",
    ]
    for (output, place), name in names.items():
        made = _finished(variant, f"{name}[i]", f"l->factors[o + {output}]")
        body.append(f"      FOUR block[{8 * output + LANES * place} + i] = {made};")
    body += [
        "      for (int k = 0; k < several; k++) {",
        f"        {variant.target} *to = out + k * out_channel + r * out_row + c;",
        f"        const {variant.target} *from = block + 8 * k;",
        "        if (wide == 8) {",
        "          FOUR to[i] = from[i];",
        "          FOUR to[4 + i] = from[4 + i];",
        "        } else {",
        "          for (int x = 0; x < wide; x++) to[x] = from[x];",
        "        }",
        "      }",
        "    }",
        "  places += count;",
        "  weights += 4 * count;",
        "}",
    ]
    return body


def _across(variant: Variant) -> list[str]:
    done = _finished(variant, "s[k]", "l->factors[o + k]")
    return [
        "for (int o = 0, b = 0; o < outputs; o += 8, b++, out += 8 * out_channel) {",
        "  const int count = l->counts[b], several = outputs - o < 8 ? outputs - o : 8;",
        "  for (int r = 0; r < rows; r++)",
        "    for (int c = 0; c < columns; c++) {",
        f"      const {variant.source} *corner = in + r * in_row + c * in_column, *w = weights;",
        f"      {variant.target} *to = out + r * out_row + c * out_column;",
        f"      {variant.total} s0[4], s1[4], s[8];",
        "      FOUR s0[i] = l->bias[o + i];",
        "      FOUR s1[i] = l->bias[o + 4 + i];",
        "      for (int t = 0; t < count; t++, w += 8) {",
        f"        const {variant.total} x = corner[places[t]];",
        "        FOUR s0[i] += x * w[i];",
        "        FOUR s1[i] += x * w[4 + i];",
        "      }",
        "      FOUR s[i] = s0[i];",
        "      FOUR s[4 + i] = s1[i];",
        f"      for (int k = 0; k < several; k++) to[k * out_channel] = {done};",
        "    }",
        "  places += count;",
        "  weights += 8 * count;",
        "}",
    ]


def _single(variant: Variant) -> list[str]:
    zero = variant.zero
    done = _finished(variant, "s0", "l->factors[o]")
    return [
        "for (int o = 0; o < outputs; o++, out += out_channel) {",
        "  const int count = l->counts[o];",
        "  for (int r = 0; r < rows; r++)",
        "    for (int c = 0; c < columns; c++) {",
        f"      const {variant.source} *corner = in + r * in_row + c * in_column;",
        f"      {variant.total} s0 = l->bias[o], s1 = {zero}, s2 = {zero}, s3 = {zero};",
        "      int t = 0;",
        "      for (; t + 4 <= count; t += 4) {  /* four sums, so that none waits for the last */",
        *(f"        s{k} += corner[places[t + {k}]] * weights[t + {k}];" for k in range(LANES)),
        "      }",
        "      for (; t < count; t++) s0 += corner[places[t]] * weights[t];",
        "      s0 = (s0 + s1) + (s2 + s3);",
        f"      out[r * out_row + c * out_column] = {done};",
        "    }",
        "  places += count;",
        "  weights += count;",
        "}",
    ]
