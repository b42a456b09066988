"""The runs of a folder as a table."""

from synevo.report import scores
from synevo.report.numerals import duration, number, ratio
from synevo.report.terminal.tables import Fitted
from synevo.runs.several.run_list import Overview


def runs_table(overviews: list[Overview]) -> Fitted:
    """Return a table with a row a run: its state, its best generation, its age, and its writer."""
    written = any(one.writer for one in overviews)
    table = Fitted(
        ("run", "state", "gens", "best", "syn ×", "test", "changed", *(["written by"] if written else [])),
        names={"run", "state", "written by"},
        gives_up=("gens", "best", "changed"),
    )
    for one in overviews:
        table.add(
            one.path,
            one.state,
            str(one.generations),
            number(one.best),
            ratio(one.synaptic_efficiency),
            scores.write(one.test_score, one.score) + (scores.unit(one.score) if one.test_score else ""),
            f"{duration(one.age)} ago",
            *([one.writer or ""] if written else []),
        )
    return table
