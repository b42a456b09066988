"""The verdict on a run: how much smaller its best network is, what that costs, and whether it is faster.

Bytes and multiply-adds come first: they are the same everywhere. A time is of one machine and one engine, and one
network is called faster than another only where the quartiles of their times part.
"""

from collections.abc import Sequence
from typing import Any

from synevo.report import scores
from synevo.report.numerals import times

Summary = dict[str, Any]


def best_of(summary: Summary) -> Summary | None:
    """Return the row of the best generation of a run, or None if there is none."""
    return next((row for row in summary["generations"] if row["chosen"] and row["generation"] == summary["best"]), None)


def compacted_best(summary: Summary) -> Summary | None:
    """Return the compacted network of the best generation, or None if there is none, or it is damaged."""
    compact = summary["compact"]
    whole = compact is not None and "problem" not in compact and compact["generation"] == summary["best"]
    return compact if whole else None


def subject(summary: Summary) -> str:
    """Return what was evolved, such as `lenet5 on digits`."""
    return f"{summary['ancestor_name'] or 'unknown ancestor'} on {summary['dataset'] or 'unknown data'}"


def reductions(summary: Summary) -> list[str]:
    """Return in words what the best network of a run has less of than its ancestor; empty if there is none.

    Bytes and multiply-adds are those of the compacted network where there is one: of the file that is deployed, whose
    widths may be padded to be fast.
    """
    best, compact = best_of(summary), compacted_best(summary)
    if best is None or best["synapses"] is None:
        return []
    first = summary["generations"][0]
    if best is first:
        evolved = len(summary["generations"]) > 1
        return ["nothing smaller within the budget" if evolved else "not evolved yet"]
    if compact is not None and compact["ancestor"]["bytes"] and compact["bytes"]:
        size = f"{times(compact['ancestor']['bytes'], compact['bytes'])} smaller file"
    else:
        size = f"{times(first['stored_weights'], best['stored_weights'])} fewer weights stored"
    return [
        size,
        f"{times(first['multiply_adds'], (compact or best)['multiply_adds'])} fewer multiply-adds",
        f"{times(first['synapses'], best['synapses'])} fewer synapses",
        f"{times(first['kernels'], best['kernels'])} fewer kernels",
    ]


def outcome(summary: Summary) -> str:
    """Return the test score of the best network with its unit, and in brackets how it differs from the ancestor's.

    Of a score of which less is better, it is said whether that is better or worse.
    """
    best, first = best_of(summary), summary["generations"][:1]
    name, better = summary["score"]["name"], summary["score"]["better"]
    if best is None or best["test_score"] is None:
        return ""
    reached = f"{scores.write(best['test_score'], name)}{scores.unit(name)}"
    if best is first[0] or first[0]["test_score"] is None:
        return reached
    moved = scores.change(best["test_score"], first[0]["test_score"], name)
    rose = best["test_score"] > first[0]["test_score"]
    said = f"{moved}, {'worse' if rose else 'better'}" if better == "lower" else moved
    return f"{reached} ({said})"


def verdict(summary: Summary) -> str:
    """Return the run in a line, such as `8.6× smaller file, 6.9× fewer multiply-adds, 96.10 % (-3.06 points)`."""
    reached, name = outcome(summary), summary["score"]["name"]
    named = reached if name == scores.ACCURACY or not reached else f"{name} {reached}"
    return ", ".join(filter(None, [*reductions(summary)[:2], named]))


def spent(summary: Summary, split: str = "validation") -> float | None:
    """Return the share of the budget that the best network uses on a split; None where there is no budget.

    Decisions look at validation. On `test` it may use more than all of it.
    """
    best, floor, first = best_of(summary), summary["floor"], summary["generations"][:1]
    if best is None or floor is None or floor == first[0]["validation_score"]:
        return None
    before, after = first[0][f"{split}_score"], best[f"{split}_score"]
    if before is None or after is None:
        return None
    return max(0.0, (before - after) / (first[0]["validation_score"] - floor))


def leader(summaries: Sequence[Summary]) -> int | None:
    """Return the place of the run whose best network has the fewest multiply-adds for its ancestor; None if none has.

    Each best is within the budget of its own run. Of equals, the one with the better test score leads.
    """
    found = []
    for place, summary in enumerate(summaries):
        best = best_of(summary)
        if best is not None and best["multiply_adds"] and best["test_score"] is not None:
            sign = 1 if summary["score"]["better"] == "higher" else -1
            fewer = summary["generations"][0]["multiply_adds"] / best["multiply_adds"]
            found.append((fewer, sign * best["test_score"], -place))
    return -max(found)[2] if found else None


def speed(before: Summary, after: Summary) -> float | None:
    """Return how many times faster `after` is than `before`, from their medians; None where their quartiles meet."""
    if before["lower"] > after["upper"] or after["lower"] > before["upper"]:
        return float(before["median"] / after["median"])
    return None


def speed_in_words(before: Summary, after: Summary) -> str:
    """Write how the times of two networks compare: 1.8× faster, 1.2× slower, or no difference."""
    ratio = speed(before, after)
    if ratio is None:
        return "no difference"
    return f"{ratio:.1f}× faster" if ratio >= 1 else f"{1 / ratio:.1f}× slower"


def engines(generations: list[Summary]) -> str:
    """Return what measured the latencies of individuals, from their rows; older versions measured in JAX."""
    return "; ".join(dict.fromkeys(row.get("engine") or "JAX" for row in generations if row["latency_ms"]))


def engine(summary: Summary) -> str:
    """Return what measured the times of a run's compacted network, such as `ONNX Runtime 1.23.2, 1 thread`."""
    return engine_of(summary["compact"]["measures"], summary["machine"])


def engine_of(measures: Summary, machine: Summary | None = None) -> str:
    """Return what measured times; older versions did not write it, and measured in JAX on the run's `machine`."""
    if "engine" in measures:
        return str(measures["engine"]["words"])
    machine = machine or measures.get("machine") or {}
    version = (machine.get("libraries") or {}).get("jax", "")
    device = machine.get("backend") or "an unknown device"
    return f"JAX {version}".strip() + f" on {f'a {device.upper()}' if machine.get('backend') else device}"
