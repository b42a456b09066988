"""What can go wrong in a way that the person at the keyboard can mend.

Every such error says what was expected, what was found, and the command or option that helps. The command line shows
it without a traceback and exits with code 2; anything else that is raised is a bug of synevo's own.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches


class SynevoError(Exception):
    """A problem that the user can solve; `remedy` is the command or option that solves it."""

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}"


class PlanError(SynevoError):
    """A field of the plan is unknown, out of range, or contradicts another."""


class DataError(SynevoError):
    """A data set is missing, or is not what an image classifier can be trained on."""


class TaskError(SynevoError):
    """A user's own task could not be found, or is none."""


class AncestorError(SynevoError):
    """An ancestor could not be found, built or traced."""


class RunError(SynevoError):
    """A run directory is missing, damaged, of another version, or held by another writer."""


class ViabilityError(SynevoError):
    """A synthesis left an output that no input can reach."""


class ProofError(SynevoError):
    """A compacted network is not the network that it came from; nothing was written."""


class CompactionError(SynevoError):
    """Nothing of a network can be removed, or what to remove is not said in its terms."""


class ExportError(SynevoError):
    """A network cannot be written in a format, or the file that was written is not the network."""


class DivergenceError(SynevoError):
    """Training left the finite numbers."""


def damaged(path: object, how: str) -> RunError:
    """The error of a file that is not as it was written."""
    return RunError(
        f"{path} is damaged: {how}.",
        remedy="Nothing was changed. Restore it from a copy; `synevo verify` lists everything that is damaged.",
    )


def did_you_mean(word: str, known: Iterable[str], *, in_full: Mapping[str, str] | None = None) -> str:
    """Return " Did you mean 'x'?" for the known word that is most like `word`; "" where none is like it.

    Upper and lower case count as alike. `in_full` says how to write a known word where that is longer, such as a path.
    """
    spellings = {one.lower(): one for one in known}
    near = get_close_matches(word.lower(), spellings, n=1)
    if not near:
        return ""
    found = spellings[near[0]]
    return f" Did you mean {(in_full or {}).get(found, found)!r}?"
