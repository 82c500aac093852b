"""What is drawn of language is what was said."""

from src.visualize.language import language_figure, shares

PEOPLE = [("a", "dog", "runs"), ("a", "dog"), ("the", "cat"), ("a", "a", "bird")]
LSTM = [("a", "dog"), ("a", "dog")]


def test_a_word_counts_once_a_caption() -> None:
    assert shares(PEOPLE)["a"] == 0.75 and shares(PEOPLE)["dog"] == 0.5


def test_lengths_are_shares_of_captions() -> None:
    lengths, _, _ = language_figure({"LSTM": LSTM}, PEOPLE).axes
    assert [bar.get_height() for bar in lengths.patches][2:4] == [0.5, 0.5]
    assert lengths.lines[0].get_ydata()[2] == 1


def test_words_said_too_often_come_before_those_said_too_seldom() -> None:
    _, _, odd = language_figure({"LSTM": LSTM}, PEOPLE).axes
    widths = {label.get_text(): bar.get_width() for label, bar in zip(odd.get_yticklabels(), odd.patches, strict=True)}
    assert widths["dog"] == 0.5 and widths["a"] == 0.25 and widths["cat"] == -0.25
    assert list(widths.values()) == sorted(widths.values(), reverse=True)


def test_a_model_that_says_nothing_can_be_drawn() -> None:
    language_figure({"LSTM": [(), ()]}, PEOPLE)


def test_what_is_said_of_people_and_all_models_stays_within_the_figure():
    people = [tuple(f"word{12 * caption + place}" for place in range(12)) for caption in range(1000)]
    said = people[:150]
    figure = language_figure({"LSTM": said, "GRU": said, "BLIP": said}, people)
    assert max(text.get_window_extent().x1 for text in figure.texts) < 0.99 * figure.bbox.width
