"""Errors that a person can act on."""

import pytest

from synevo import errors
from synevo.errors import SynevoError, did_you_mean

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SynevoError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_what_is_wrong_and_then_what_helps(kind: type[SynevoError]) -> None:
    error = kind("No data set 'x'.", remedy="Use --dataset digits.")
    assert str(error) == "No data set 'x'.\nUse --dataset digits."
    assert (error.problem, error.remedy) == ("No data set 'x'.", "Use --dataset digits.")


def test_there_is_no_error_without_a_remedy() -> None:
    with pytest.raises(TypeError, match="remedy"):
        SynevoError("Something is wrong.")  # type: ignore[call-arg]


@pytest.mark.parametrize("word", ["onx", "ONNX", "onnx", "onnxx", "nonx"])
def test_a_word_is_answered_with_the_known_one_that_is_like_it(word: str) -> None:
    assert did_you_mean(word, ["safetensors", "onnx", "tflite"]) == " Did you mean 'onnx'?"


@pytest.mark.parametrize("word", ["", "keras", "x", "zzz"])
def test_a_word_unlike_any_gets_no_suggestion(word: str) -> None:
    assert did_you_mean(word, ["safetensors", "onnx", "tflite"]) == ""
    assert did_you_mean(word, []) == ""


def test_a_suggestion_is_written_as_it_is_known_or_in_full() -> None:
    assert did_you_mean("lenet5", ["LeNet5"]) == " Did you mean 'LeNet5'?"
    assert did_you_mean("shrap", ["sharp"], in_full={"sharp": "runs/sharp"}) == " Did you mean 'runs/sharp'?"
