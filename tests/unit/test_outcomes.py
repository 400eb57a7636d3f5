"""What became of each member of a batch."""

import pytest

import unimq
from unimq.outcomes import like


def raised(error: Exception) -> Exception:
    with pytest.raises(type(error)) as failed:
        raise error from OSError(28, "no space")
    return failed.value


def test_an_exception_like_another_says_the_same_and_is_its_own() -> None:
    """Class, text, fields, cause and traceback; a note goes to one of them."""
    error = raised(unimq.ConnectionLost("gone", in_doubt=True))
    error.add_note("first")
    other = like(error)
    other.add_note("second")
    assert type(other) is unimq.ConnectionLost
    assert other is not error
    assert (str(other), other.in_doubt) == ("gone", True)
    assert other.__cause__ is error.__cause__
    assert other.__traceback__ is error.__traceback__
    assert (error.__notes__, other.__notes__) == (["first"], ["first", "second"])


def test_one_that_cannot_be_made_again_is_raised_itself() -> None:
    """Whatever its class asks for."""

    class Odd(Exception):
        def __init__(self, *, needed: int) -> None:
            super().__init__(f"{needed} are needed")

    error = raised(Odd(needed=3))
    assert like(error) is error
