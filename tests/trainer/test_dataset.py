"""Every window is asked once an epoch, beside others of about its length."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.few_events import ITEMS, frame
from trainer.dataset import batches_of_like_length, num_steps
from trainer.interactions import Interactions
from trainer.settings import TrainingSettings
from trainer.windows import Windows, make_windows


def windows_of(lengths: list[int], settings: TrainingSettings) -> Windows:
    events = [
        (user, number % len(ITEMS), 24 * number)
        for user, length in enumerate(lengths)
        for number in range(length)
    ]
    return make_windows(Interactions.from_frame(frame(events), ITEMS), settings)


@given(
    st.lists(st.integers(2, 60), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 20),
    st.integers(0, 3),
)
def test_every_window_is_in_one_batch_and_no_batch_is_empty(
    lengths: list[int], batch_size: int, positions: int, seed: int
) -> None:
    settings = TrainingSettings(
        history_length=16, batch_size=batch_size, positions_per_window=positions
    )
    windows = windows_of(lengths, settings)
    batches = batches_of_like_length(windows, settings, np.random.default_rng(seed))
    assert len(batches) == num_steps(windows, settings)
    assert all(len(batch) for batch in batches)
    assert sorted(np.concatenate(batches)) == list(range(len(windows)))
    sizes = windows.end - windows.start
    spans = sorted((sizes[batch].min(), sizes[batch].max()) for batch in batches)
    for (_, longest), (shortest, _) in itertools.pairwise(spans):
        assert longest <= shortest


def test_a_step_asks_about_as_much_whatever_the_lengths() -> None:
    settings = TrainingSettings(history_length=16, batch_size=100, positions_per_window=16)
    windows = windows_of([2] * 1500 + [16] * 100, settings)
    batches = batches_of_like_length(windows, settings, np.random.default_rng(0))
    asked = [int(np.diff(windows.first_cut)[batch].sum()) for batch in batches]
    # Windows come by eights, of which the longest here ask 15 times each.
    assert max(asked) <= np.mean(asked) + 8 * 15
