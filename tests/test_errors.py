"""Errors that a person can act on."""

import pytest

from synevo import errors
from synevo.errors import SynevoError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SynevoError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_what_is_wrong_and_then_what_helps(kind: type[SynevoError]) -> None:
    error = kind("No data set 'x'.", remedy="Use --dataset digits.")
    assert str(error) == "No data set 'x'.\nUse --dataset digits."
    assert (error.problem, error.remedy) == ("No data set 'x'.", "Use --dataset digits.")


def test_there_is_no_error_without_a_remedy() -> None:
    with pytest.raises(TypeError, match="remedy"):
        SynevoError("Something is wrong.")  # type: ignore[call-arg]
