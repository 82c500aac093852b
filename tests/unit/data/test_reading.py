from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from src.config import DATASETS
from src.data.reading import divide, reader

NAMES = st.sets(st.text(min_size=1), max_size=60)


@given(NAMES)
def test_every_name_gets_exactly_one_split(names):
    divided = divide(names, val=0.25, test=0.25)
    assert divided.keys() == names
    assert all(len(splits) == 1 for splits in divided.values())


@given(NAMES)
def test_the_shares_are_kept(names):
    counts = Counter(split for (split,) in divide(names, val=0.25, test=0.5).values())
    assert abs(counts["test"] - len(names) * 0.5) <= 0.5
    assert abs(counts["val"] - len(names) * 0.25) <= 1


@given(st.lists(st.text(min_size=1), unique=True, max_size=60), st.randoms())
def test_the_order_of_names_does_not_matter(names, random):
    divided = divide(names, val=0.2, test=0.2)
    random.shuffle(names)
    assert divide(names, val=0.2, test=0.2) == divided


def test_every_dataset_that_can_be_configured_has_a_reader():
    for dataset in DATASETS:
        assert callable(reader(dataset))
