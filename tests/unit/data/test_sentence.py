"""Captions are printed as people write."""

import pytest

from src.data.sentence import sentence


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("a dog 's toy , red .", "A dog's toy, red."),
        ("Two dogs", "Two dogs."),
        ("  what ?", "What?"),
        ("", ""),
    ],
)
def test_a_tokenised_caption_is_printed_as_people_write(written: str, printed: str) -> None:
    assert sentence(written) == printed
