"""The loops over tables of synapses, as C text.

Sums of floats stand in arrays of four, which compilers keep in vector registers. Of whole numbers of eight bits, two
products at once fit in 16 bits, |v·p + w·q| ≤ 2 · 127 · 128 < 2¹⁵, and sixteen such sums in two registers.
"""

from collections.abc import Iterable

from synevo.deploy.formats.c.kernels import Variant
from synevo.deploy.formats.c.values import FLOAT

LANES = 4
"""The width of a vector register that every machine with vectors has, in floats."""


def body_of(variant: Variant) -> str:
    """Return the body of the C function of a variant."""
    floats = {"blocks4x8": _blocks, "across8": _across, "single": _single}
    whole = {"rows1x16": _whole_rows, "across16": _whole_across, "single": _single}
    return (floats.get(variant.kernel.name, _rows) if variant.source == FLOAT else whole[variant.kernel.name])(variant)


def _rows(variant: Variant) -> str:
    """Return the loop over blocks of pixels; the last ones are cut where the grid ends."""
    rows, columns = variant.kernel.rows, variant.kernel.columns
    places = [(row, column) for row in range(rows) for column in range(0, columns, LANES)]
    names = [f"s{number}" for number in range(len(places))]
    pairs = list(zip(names, places, strict=True))
    moved = {row: "p += in_row; " if row else "" for row in range(rows)}
    adds = [f"{'' if column else moved[row]}FOUR {name}[i] += w * p[{column} + i];" for name, (row, column) in pairs]
    whole = [f"FOUR to[{row} * out_row + {column} + i] = {name}[i];" for name, (row, column) in pairs]
    block = [f"FOUR block[{row * columns + column} + i] = {name}[i];" for name, (row, column) in pairs]
    return f"""
for (int o = 0; o < outputs; o++, out += out_channel) {{
  const int count = l->counts[o];
  const float bias = l->bias[o];
  for (int r = 0; r < rows; r += {rows})
    for (int c = 0; c < columns; c += {columns}) {{
      const float *corner = in + r * in_row + c;
      float *to = out + r * out_row + c;
      float {", ".join(f"{name}[4]" for name in names)};
      {_lines(6, [f"FOUR {name}[i] = bias;" for name in names])}
      for (int t = 0; t < count; t++) {{
        const float *p = corner + places[t], w = weights[t];
        {_lines(8, adds)}
      }}
      {_lines(6, _bounded(names))}
      if (rows - r >= {rows} && columns - c >= {columns}) {{
        {_lines(8, whole)}
      }} else {{
        float block[{rows * columns}];
        {_lines(8, block)}
        for (int y = 0; y < {rows} && r + y < rows; y++)
          for (int x = 0; x < {columns} && c + x < columns; x++) to[y * out_row + x] = block[{columns} * y + x];
      }}
    }}
  places += count;
  weights += count;
}}"""


def _blocks(_: Variant) -> str:
    """Return the loop over blocks of four outputs and eight pixels."""
    names = {(output, column): f"s{output}{column // LANES}" for output in range(4) for column in (0, LANES)}
    begins = [f"FOUR {name}[i] = l->bias[o + {output}];" for (output, _), name in names.items()]
    adds = [f"FOUR {name}[i] += w[{output}] * p[{column} + i];" for (output, column), name in names.items()]
    ends = [*_bounded(names.values())]
    ends += [f"FOUR block[{8 * output + column} + i] = {name}[i];" for (output, column), name in names.items()]
    return f"""
for (int o = 0, b = 0; o < outputs; o += 4, b++, out += 4 * out_channel) {{
  const int count = l->counts[b];
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c += 8) {{
      const float *corner = in + r * in_row + c, *w = weights;
      float {", ".join(f"{name}[4]" for name in names.values())}, block[32];
      {_lines(6, begins)}
      for (int t = 0; t < count; t++, w += 4) {{
        const float *p = corner + places[t];
        {_lines(8, adds)}
      }}
      {_lines(6, ends)}
      for (int k = 0; k < 4 && o + k < outputs; k++) {{
        float *to = out + k * out_channel + r * out_row + c;
        const float *from = block + 8 * k;
        if (columns - c >= 8) {{
          FOUR to[i] = from[i];
          FOUR to[4 + i] = from[4 + i];
        }} else {{
          for (int x = 0; c + x < columns; x++) to[x] = from[x];
        }}
      }}
    }}
  places += count;
  weights += 4 * count;
}}"""


def _across(variant: Variant) -> str:
    """Return the loop over blocks of eight outputs, pixel by pixel."""
    return f"""
for (int o = 0, b = 0; o < outputs; o += 8, b++, out += 8 * out_channel) {{
  const int count = l->counts[b];
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) {{
      const float *corner = in + r * in_row + c * in_column, *w = weights;
      float *to = out + r * out_row + c * out_column;
      float s0[4], s1[4], s[8];
      FOUR s0[i] = l->bias[o + i];
      FOUR s1[i] = l->bias[o + 4 + i];
      for (int t = 0; t < count; t++, w += 8) {{
        const float x = corner[places[t]];
        FOUR s0[i] += x * w[i];
        FOUR s1[i] += x * w[4 + i];
      }}
      FOUR s[i] = s0[i];
      FOUR s[4 + i] = s1[i];
      for (int k = 0; k < 8 && o + k < outputs; k++) to[k * out_channel] = {variant.finished("s[k]", "")};
    }}
  places += count;
  weights += 8 * count;
}}"""


def _whole_rows(variant: Variant) -> str:
    """Return the loop over sixteen pixels of a row; the last ones are cut where the row ends."""
    whole = variant.target != FLOAT
    made = "(int8_t)((int)({} + 128.5f) - 128)" if whole else "{}"
    return f"""
for (int o = 0; o < outputs; o++, out += out_channel) {{
  const int count = l->counts[o];
  const int32_t bias = l->bias[o];
  const float factor = l->factors[o];
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c += 16) {{
      const int8_t *corner = in + r * in_row + c;
      {variant.target} *to = out + r * out_row + c;
      int32_t s[16];
      SIXTEEN s[i] = bias;
      for (int t = 0; t < count; t += 2) {{
        const int8_t *p = corner + places[t], *q = corner + places[t + 1];
        const int16_t v = weights[t], w = weights[t + 1];
        int16_t two[16];
        SIXTEEN two[i] = (int16_t)(v * p[i] + w * q[i]);
        SIXTEEN s[i] += two[i];
      }}
      float f[16];
      SIXTEEN f[i] = (float)s[i] * factor{" + zero" if whole else ""};
      SIXTEEN f[i] = f[i] > low ? f[i] : low;
      SIXTEEN f[i] = f[i] < high ? f[i] : high;
      if (columns - c >= 16) {{
        SIXTEEN to[i] = {made.format("f[i]")};
      }} else {{
        for (int x = 0; c + x < columns; x++) to[x] = {made.format("f[x]")};
      }}
    }}
  places += count;
  weights += count;
}}"""


def _whole_across(variant: Variant) -> str:
    """Return the loop over blocks of sixteen outputs, pixel by pixel."""
    return f"""
for (int o = 0, b = 0; o < outputs; o += 16, b++, out += 16 * out_channel) {{
  const int count = l->counts[b];
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) {{
      const int8_t *corner = in + r * in_row + c * in_column, *w = weights;
      {variant.target} *to = out + r * out_row + c * out_column;
      int32_t s[16];
      SIXTEEN s[i] = l->bias[o + i];
      for (int t = 0; t < count; t += 2, w += 32) {{
        const int16_t x = corner[places[t]], y = corner[places[t + 1]];
        int16_t two[16];
        SIXTEEN two[i] = (int16_t)(x * w[i] + y * w[16 + i]);
        SIXTEEN s[i] += two[i];
      }}
      for (int k = 0; k < 16 && o + k < outputs; k++)
        to[k * out_channel] = {variant.finished("s[k]", "l->factors[o + k]")};
    }}
  places += count;
  weights += 16 * count;
}}"""


def _single(variant: Variant) -> str:
    """Return the loop over single outputs, pixel by pixel, for floats or whole numbers."""
    total, zero = ("float", "0.0f") if variant.source == "float" else ("int32_t", "0")
    return f"""
for (int o = 0; o < outputs; o++, out += out_channel) {{
  const int count = l->counts[o];
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) {{
      const {variant.source} *corner = in + r * in_row + c * in_column;
      {total} s0 = l->bias[o], s1 = {zero}, s2 = {zero}, s3 = {zero};  /* four, so that none waits for the last */
      int t = 0;
      for (; t + 4 <= count; t += 4) {{
        s0 += corner[places[t]] * weights[t];
        s1 += corner[places[t + 1]] * weights[t + 1];
        s2 += corner[places[t + 2]] * weights[t + 2];
        s3 += corner[places[t + 3]] * weights[t + 3];
      }}
      for (; t < count; t++) s0 += corner[places[t]] * weights[t];
      s0 = (s0 + s1) + (s2 + s3);
      out[r * out_row + c * out_column] = {variant.finished("s0", "l->factors[o]")};
    }}
  places += count;
  weights += count;
}}"""


def _bounded(names: Iterable[str]) -> list[str]:
    """Return the lines that keep sums between the bounds of results; a loop of two conditions is not vectorised."""
    bounds = ("> low ? {0}[i] : low", "< high ? {0}[i] : high")
    return [f"FOUR {name}[i] = {name}[i] {bound.format(name)};" for name in names for bound in bounds]


def _lines(depth: int, lines: list[str]) -> str:
    return f"\n{' ' * depth}".join(lines)
