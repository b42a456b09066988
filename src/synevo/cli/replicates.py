"""Replicates: runs with the same plan except for the seed, each in its own folder, and work on several runs in turn."""

import errno
import io
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

from synevo.cli.screens import say
from synevo.errors import PlanError, RunError, SynevoError
from synevo.runs.rundir import RunDir

MOST = 1000
_SEEDS = 2**32
_PART = re.compile(r"([0-9]{1,10})(?:\.\.([0-9]{1,10}))?")
_EVERY_RUN_S = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EPIPE}
"""Errors that the next run would have as well."""


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds in a text such as `0..4`, `3` or `0,2,5..7`, each once, in the order of the text.

    Raises:
        PlanError: if it names no seed, too many, or something else.
    """
    seeds: dict[int, None] = {}
    for part in re.split(r"\s*,\s*|\s+", text.strip()):
        match = _PART.fullmatch(part)
        if match is None:
            raise _wrong(text, f"{part!r} is no seed and no range of seeds" if part else "a seed is missing")
        first, last = int(match[1]), int(match[2] or match[1])
        if max(first, last) >= _SEEDS:
            raise _wrong(text, f"{max(first, last)} is more than {_SEEDS - 1}")
        if last < first:
            raise _wrong(text, f"{part} runs backwards")
        if last - first >= MOST or len(seeds) + last - first >= MOST:
            raise _wrong(text, f"these are more than {MOST} seeds")
        seeds |= dict.fromkeys(range(first, last + 1))
    return tuple(seeds)


def _wrong(text: str, why: str) -> PlanError:
    return PlanError(f"--seeds {text!r}: {why}.", remedy="Write a range such as 0..4, or seeds such as 0,2,5.")


def check_seeds(wanted: Sequence[int], planned: Sequence[int], single: int | None) -> None:
    """Raise PlanError if `--seeds` contradicts a `--seed`, or a `--set seed=…`."""
    if single is not None:
        raise PlanError(f"--seed {single} and --seeds contradict each other.", remedy="Give one of them.")
    if list(planned) != list(wanted):
        raise PlanError(f"--set seed={planned[0]} and --seeds contradict each other.", remedy="Give one of them.")


def replicate(stem: Path, seed: int) -> RunDir:
    """Return the run of a seed among the replicates of a stem, such as runs/sharp-3 for runs/sharp and 3."""
    return RunDir(Path(f"{stem}-{seed}"))


def in_turn(runs: Sequence[RunDir], work: Callable[[RunDir], None]) -> None:
    """Work on runs one after the other; a failed run does not stop the others.

    Raises:
        Exception: at once, if there is a single run, or the next run would have the same error.
        RunError: at the end, with the names of the failed runs and their problems.
        ExceptionGroup: at the end, of all errors that are no SynevoError; the failed runs are printed before.
    """
    if len(runs) == 1:
        work(runs[0])
        return
    failures: list[tuple[RunDir, Exception]] = []
    for place, run in enumerate(runs, 1):
        say(f"{run.path} ({place} of {len(runs)})", err=True)
        try:
            work(run)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _EVERY_RUN_S:
                raise
            failures.append((run, _explained(error)))
            say(f"{run.path} failed. {_problem(failures[-1][1])}", err=True)
        _clear_caches()
    if failures:
        _raise(failures, len(runs))


def side_by_side(runs: Sequence[RunDir], work: Callable[[RunDir], None]) -> None:
    """Work on runs side by side, on the nodes of a Ray cluster; errors as in `in_turn`, at the end."""
    from synevo.runs.several.nodes import on_ray

    say(f"{len(runs)} runs are worked on side by side; `synevo runs` says how far they are.", err=True)
    failures = []
    for run, (said, error) in zip(runs, on_ray(runs, partial(_told, work)), strict=True):
        say(f"{run.path}\n{said}".rstrip(), err=True)
        if error is not None:
            failures.append((run, RunError(error[0], remedy=error[1])))
    if failures:
        _raise([*failures], len(runs))


def _told(work: Callable[[RunDir], None], run: RunDir) -> tuple[str, tuple[str, str] | None]:
    """Work on a run; return what that prints, and what is wrong, if anything the user can correct is."""
    said, problem = io.StringIO(), None
    with redirect_stderr(said):
        try:
            work(run)
        except SynevoError as error:
            problem = error.problem, error.remedy
    return said.getvalue(), problem


def _clear_caches() -> None:
    """Clear the programs that JAX compiled for a run: the next run has other shapes, and they only use memory."""
    if "jax" in sys.modules:
        import jax

        jax.clear_caches()


def _explained(error: Exception) -> Exception:
    """Return the error; for a file without access, return a RunError with its name."""
    if isinstance(error, PermissionError):
        return RunError(f"{error.strerror}: {error.filename}.", remedy="Give access to it.")
    return error


def _problem(error: Exception) -> str:
    return error.problem if isinstance(error, SynevoError) else f"{type(error).__name__}: {error}"


def _raise(failures: list[tuple[RunDir, Exception]], count: int) -> None:
    """Raise one error for all failures; runs with the same problem share a line."""
    problems: dict[str, list[str]] = {}
    for run, error in failures:
        remedy = f"\n  {error.remedy}" if isinstance(error, SynevoError) else ""
        problems.setdefault(_problem(error) + remedy, []).append(str(run.path))
    lines = [f"{', '.join(names)}: {problem}" for problem, names in problems.items()]
    said = "\n".join([f"{len(failures)} of {count} runs failed.", *lines])
    bugs = [error for _, error in failures if not isinstance(error, SynevoError)]
    if bugs:
        say(said, err=True)
        raise ExceptionGroup(f"{len(bugs)} of {count} runs", bugs)
    raise RunError(said, remedy="Mend that and give the same command again: what is done is left alone.")
