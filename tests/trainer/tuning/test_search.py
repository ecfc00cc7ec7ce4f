"""A search finds what is planted, ends where it is told to, and is the same however it is run."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tensorflow.errors import ResourceExhaustedError

from tests.support.forking import forking
from trainer.tuning.search import Answers, Report, Search
from trainer.tuning.space import BUY_AGAIN, MODEL, RANKING, changes, value_of, with_values
from trainer.tuning.tuned_settings import TunedSettings

PRESENT = TunedSettings()
SPACE = {
    name: RANKING[name]
    for name in (
        "training.ranking.ease_regularisation",
        "training.ranking.neighbours",
        "training.ranking.hidden_units",
    )
}
USERS = 40


def planted(settings: TunedSettings, report: Report) -> Answers:
    """Best with a regularisation of 30, 100 neighbours and units of (32, 16)."""
    ranking = settings.training.ranking
    value = 0.6 - 0.1 * abs(np.log(ranking.ease_regularisation / 30.0))
    value -= 0.05 * abs(np.log(ranking.neighbours / 100))
    value -= 0.0 if ranking.hidden_units == (32, 16) else 0.1
    noise = np.random.default_rng(0).normal(0, 0.01, USERS)
    return Answers((value + noise).tolist(), (value - noise).tolist())


@contextmanager
def opened(folder: Path, *, name: str = "ranking", pruned: bool = False) -> Iterator[Search]:
    with Search(folder / "searches", name, SPACE, PRESENT, seed=0, pruned=pruned) as search:
        yield search


def always() -> bool:
    return True


def test_what_is_planted_is_found(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        search.run(planted, 30, always)
        best, *others = search.results()
    assert len(others) == 29
    present = next(tried for tried in others if tried.number == 0)
    assert present.settings is PRESENT
    ranking = best.settings.training.ranking
    assert ranking.hidden_units == (32, 16)
    assert ranking.ease_regularisation == pytest.approx(30, rel=0.5)
    gain, low, high = best.gain(present, seed=0)
    assert 0 < low <= gain <= high
    assert gain == pytest.approx(best.value - present.value, abs=0.01)
    # What is not searched stays as it is.
    assert with_values(best.settings, {name: value_of(PRESENT, name) for name in SPACE}) == PRESENT


def test_a_search_that_was_interrupted_finds_what_it_would_have_found(tmp_path: Path) -> None:
    with opened(tmp_path, name="whole") as search:
        search.run(planted, 13, always)
        expected = search.results()
    calls = 0

    def interrupted(settings: TunedSettings, report: Report) -> Answers:
        nonlocal calls
        calls += 1
        if calls in (1, 5, 12):
            raise KeyboardInterrupt
        return planted(settings, report)

    for _ in range(3):
        with opened(tmp_path) as search, pytest.raises(KeyboardInterrupt):
            search.run(interrupted, 13, always)
    with opened(tmp_path) as search:
        search.run(interrupted, 13, always)
        assert search.results() == expected
    # Nothing that was known was asked again.
    assert calls == 13 + 3


def test_a_search_is_bounded_by_trials_and_by_time(tmp_path: Path) -> None:
    heard: list[int] = []
    with opened(tmp_path) as search:
        search.run(planted, 3, always, heard.append)
        assert search.count == 3
        search.run(planted, 3, always, heard.append)
        assert heard == [0, 1, 2]
        search.run(planted, 5, lambda: search.count < 4)
        assert search.count == 4
    with opened(tmp_path, name="no time") as search:
        search.run(planted, 5, lambda: False)
        # The settings at present, which all others are compared with, are tried all the same.
        assert [tried.number for tried in search.results()] == [0]


def test_what_does_worse_than_most_is_given_up(tmp_path: Path) -> None:
    epochs: list[int] = []

    def in_epochs(settings: TunedSettings, report: Report) -> Answers:
        value = float(np.mean(planted(settings, report).choosing))
        epochs.append(0)
        for epoch in range(1, 6):
            epochs[-1] = epoch
            report(epoch, value * epoch / 5)
        return Answers([value], [value])

    with opened(tmp_path, pruned=True) as search:
        search.run(in_epochs, 20, always)
        assert search.count == 20
        assert search.pruned == sum(each < 5 for each in epochs) > 0
        assert len(search.results()) == 20 - search.pruned
        assert max(epochs[:4]) == min(epochs[:4]) == 5


def test_settings_of_which_nothing_comes_are_one_trial_less_unless_they_are_those_at_present(
    tmp_path: Path,
) -> None:
    def fails_above(limit: float) -> Callable[[TunedSettings, Report], Answers]:
        def ask(settings: TunedSettings, report: Report) -> Answers:
            if settings.training.ranking.ease_regularisation > limit:
                raise ValueError("the loss is nan: lower learning_rate.")
            return planted(settings, report)

        return ask

    with opened(tmp_path) as search:
        search.run(fails_above(100), 12, always)
        assert search.count == 12
        assert search.pruned > 0
        assert max(t.settings.training.ranking.ease_regularisation for t in search.results()) <= 100
    with (
        opened(tmp_path, name="nothing") as search,
        pytest.raises(ValueError, match="lower learning_rate"),
    ):
        search.run(fails_above(50), 12, always)


@pytest.mark.parametrize(
    "error", [ResourceExhaustedError(None, None, "OOM when\nallocating"), MemoryError("no room")]
)
def test_settings_that_ask_for_too_much_memory_are_one_trial_less_and_the_log_says_why(
    tmp_path: Path, error: Exception
) -> None:
    asked: list[TunedSettings] = []

    def ask(settings: TunedSettings, report: Report) -> Answers:
        asked.append(settings)
        if len(asked) == 3:
            raise error
        return planted(settings, report)

    with capture_logs() as lines, opened(tmp_path) as search:
        search.run(ask, 6, always)
        assert (search.count, search.pruned, len(asked)) == (6, 1, 6)
    [line] = lines
    assert (line["event"], line["log_level"]) == ("trial_gave_no_result", "warning")
    assert with_values(PRESENT, line["settings"]) == asked[2]
    assert line["reason"] in (
        "ResourceExhaustedError: OOM when allocating",
        "MemoryError: no room",
    )


def killed_above_100(folder: Path) -> None:
    """Search in this process, which is killed where a regularisation is tried that is greater."""

    def ask(settings: TunedSettings, report: Report) -> Answers:
        if settings.training.ranking.ease_regularisation > 100:
            os.kill(os.getpid(), signal.SIGKILL)
        return planted(settings, report)

    with opened(folder) as search:
        search.run(ask, 6, always)


def test_settings_at_which_the_process_is_killed_are_tried_twice_and_then_given_up(
    tmp_path: Path,
) -> None:
    def tried() -> int | None:
        """Search in a process of its own; return how it ended.

        Not in a fork of this one, in which TensorFlow has threads: it would wait for them.
        """
        process = forking().Process(target=killed_above_100, args=(tmp_path,), daemon=True)
        process.start()
        process.join()
        return process.exitcode

    codes = [tried()]
    while codes[-1] and len(codes) < 12:
        codes.append(tried())
    assert codes[-1] == 0
    with opened(tmp_path) as search:
        assert search.count == 6
        assert search.pruned * 2 == codes.count(-signal.SIGKILL) > 0


def test_a_trial_that_is_interrupted_again_and_again_is_done_all_the_same(tmp_path: Path) -> None:
    def interrupted(settings: TunedSettings, report: Report) -> Answers:
        if settings is PRESENT:
            return planted(settings, report)
        raise KeyboardInterrupt

    for _ in range(4):
        with opened(tmp_path) as search, pytest.raises(KeyboardInterrupt):
            search.run(interrupted, 3, always)
    with opened(tmp_path) as search:
        search.run(planted, 3, always)
        assert (search.count, search.pruned) == (3, 0)


@given(
    neighbours=st.integers(1, 10_000),
    regularisation=st.floats(1e-3, 1e6),
    units=st.lists(st.integers(1, 4_096), max_size=4),
    horizon=st.floats(0, 1_000),
)
def test_whatever_is_set_at_present_can_be_searched_from(
    neighbours: int, regularisation: float, units: list[int], horizon: float
) -> None:
    values = {
        "training.ranking.neighbours": neighbours,
        "training.ranking.ease_regularisation": regularisation,
        "training.ranking.hidden_units": tuple(units),
        "training.horizon_days": horizon,
    }
    present = with_values(PRESENT, values)
    every = {**RANKING, **BUY_AGAIN, **MODEL}
    assert changes(PRESENT, present, every).items() <= values.items()
    space = {name: every[name].including(value_of(present, name)) for name in values}
    for name, parameter in space.items():
        assert parameter.including(value_of(present, name)) == parameter


def test_every_setting_that_is_searched_is_one_and_starts_within_its_range(tmp_path: Path) -> None:
    for space in (RANKING, BUY_AGAIN, MODEL):
        for name, parameter in space.items():
            assert parameter.including(value_of(PRESENT, name)) == parameter, name
        with Search(tmp_path / "searches", repr(space), space, PRESENT, seed=1) as search:
            search.run(lambda settings, report: Answers([0.5], [0.5]), 12, always)
            assert search.pruned == 0
