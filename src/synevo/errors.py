"""Errors that the user can solve.

Every such error states what was expected, what was found, and the command or option that helps. The command line shows
it without a traceback and exits with code 2. Any other exception is a bug of synevo.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

_STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
"""Characters that steer a terminal, or turn the direction of a line; line ends and tabs do not count."""


_TELLING = 3
"""The letters of the beginning of a word that tell which one is meant."""

NEWER = "Install a newer synevo, from where you have this one."
"""The remedy for files of a newer version."""


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
    """A data set is missing, or an image classifier cannot be trained on it."""


class AdoptionError(SynevoError):
    """Trained weights cannot be read, do not fit a network, or give other outputs than expected.

    `proposal` is the text of a NAMES.toml that would make them fit, as far as shapes and order alone tell; "" if none.
    """

    def __init__(self, problem: str, *, remedy: str, proposal: str = "") -> None:
        super().__init__(problem, remedy=remedy)
        self.proposal = proposal


class TaskError(SynevoError):
    """A user's own task could not be found, or is not a task."""


class AncestorError(SynevoError):
    """An ancestor could not be found, built or traced."""


class TrainingError(SynevoError):
    """A user's own optimiser or augmentation could not be found or used, or a training cannot go on with it."""


class RunError(SynevoError):
    """A run directory is missing, damaged, of another version, or locked by another writer."""


class HostsError(SynevoError):
    """Several hosts cannot work together, or one of them has stopped."""


class ViabilityError(SynevoError):
    """A synthesis left an output that no input can reach."""


class ProofError(SynevoError):
    """A compacted network differs from the network that it was made from; nothing was written."""


class CompactionError(SynevoError):
    """Nothing of a network can be removed, or the given masks or arrays do not fit it."""


class ExportError(SynevoError):
    """A network cannot be written in a format, or the written file computes something else."""


class DivergenceError(SynevoError):
    """The loss of a training is no longer finite."""


def damaged(path: object, how: str) -> RunError:
    """Return the error for a damaged file; `how` states what is wrong with it."""
    return RunError(
        f"{path} is damaged: {how}.",
        remedy="Nothing was changed. Restore it from a copy; `synevo verify` lists everything that is damaged.",
    )


def first_line(error: Exception) -> str:
    """Return the first line of what an error of other software says, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def did_you_mean(word: str, known: Iterable[str], *, in_full: Mapping[str, str] | None = None) -> str:
    """Return " Did you mean 'x'?" for the known word most like `word`, or begun with it; "" where there is none.

    Upper and lower case count as equal. `in_full` gives a longer spelling of a known word, such as its path.
    """
    spellings = {one.lower(): one for one in known}
    begun = [one for one in spellings if len(word) >= _TELLING and one.startswith(word.lower())]
    near = get_close_matches(word.lower(), spellings, n=1) or begun[:1]
    if not near:
        return ""
    found = spellings[near[0]]
    return f" Did you mean {(in_full or {}).get(found, found)!r}?"


def printable(text: str) -> str:
    """Return a text, such as a name from a file, with a sign in place of each character that would steer a terminal."""
    return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text)
