"""A source is switched where that is beyond noise, and stays as it is where it is not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.ranking.settings import RankingSettings
from serving.settings import ServingSettings
from serving.source_names import SOURCES
from trainer.tuning.search import Answers, Report, Search, Tried
from trainer.tuning.source_steps import SourceSteps
from trainer.tuning.space import SOURCES_ON, changes, with_values
from trainer.tuning.tuned_settings import TunedSettings

SEARCHED = SOURCES[1:]
USERS = 40
Plan = Callable[[ServingSettings], float]


def with_sources(*sources: str) -> TunedSettings:
    return with_values(TunedSettings(), {SOURCES_ON: sources})


def searched(
    folder: Path,
    present: TunedSettings,
    plan: Plan,
    *,
    confirmed: Plan | None = None,
    noise: float = 0.0,
    trials: int = 16,
) -> Tried:
    """Return what a search settles on. noise: of one user's answers, other ones in each trial."""
    steps = SourceSteps(present, SOURCES)
    random = np.random.default_rng(0)

    def ask(settings: TunedSettings, report: Report) -> Answers:
        halves = [plan(settings.serving), (confirmed or plan)(settings.serving)]
        own = [value + random.normal(0, noise, USERS) for value in halves]
        return Answers(*(each.tolist() for each in own))

    file, space = folder / "searches", steps.space
    with Search(file, "sources", space, present, seed=0, steps=steps.next) as search:
        search.run(ask, trials, lambda: True)
        chosen = steps.settled(search.results())
    assert chosen is not None
    return chosen


def harmed_by(*names: str) -> Plan:
    return lambda serving: 0.5 - 0.1 * len({*names} & {*serving.ranking.sources})


@pytest.mark.parametrize("name", ["ease", "category", "new_arrivals"])
def test_a_source_that_only_harms_is_dropped_and_no_other(tmp_path: Path, name: str) -> None:
    trials = 1 + len(SEARCHED)
    chosen = searched(tmp_path, TunedSettings(), harmed_by(name), noise=0.02, trials=trials)
    assert chosen.settings == with_sources(*(each for each in SOURCES if each != name))


@pytest.mark.parametrize("days", [365.0, 365.25])
def test_all_that_harm_are_dropped_together(tmp_path: Path, days: float) -> None:
    present = with_values(TunedSettings(), {"serving.buy_again_days": days})
    chosen = searched(tmp_path, present, harmed_by("text", "trending", "category"))
    off = {*SOURCES} - {*chosen.settings.serving.ranking.sources}
    assert off == {"text", "trending", "category"}


def test_a_source_that_is_off_and_would_help_is_put_on(tmp_path: Path) -> None:
    present = with_sources("two_tower", "text")
    chosen = searched(tmp_path, present, lambda serving: 0.5 + ("ease" in serving.ranking.sources))
    assert chosen.settings == with_sources("two_tower", "ease", "text")


def test_the_settings_at_present_win_ties(tmp_path: Path) -> None:
    present = with_sources("text", "two_tower", "ease")
    chosen = searched(tmp_path, present, lambda serving: 0.5)
    assert chosen.number == 0
    assert chosen.settings is present


def test_noise_changes_nothing(tmp_path: Path) -> None:
    assert searched(tmp_path, TunedSettings(), lambda serving: 0.5, noise=0.1).number == 0


def test_what_those_who_confirm_do_not_see_changes_nothing(tmp_path: Path) -> None:
    chosen = searched(
        tmp_path, TunedSettings(), harmed_by("ease"), confirmed=lambda serving: 0.5, noise=0.01
    )
    assert chosen.number == 0


@pytest.mark.parametrize("days", [365.25, 30.0, 12_345.6])
def test_every_source_is_switched_whatever_number_is_set_beside_them(
    tmp_path: Path, days: float
) -> None:
    present = with_values(TunedSettings(), {"serving.buy_again_days": days})
    chosen = searched(tmp_path, present, harmed_by(SEARCHED[-1]), trials=1 + len(SEARCHED))
    off = {*SOURCES} - {*chosen.settings.serving.ranking.sources}
    assert off == {SEARCHED[-1]}


@given(
    on=st.permutations(SOURCES).flatmap(lambda names: st.integers(0, 9).map(lambda n: names[:n])),
    speaking=st.sets(st.sampled_from(SOURCES)),
)
def test_each_source_that_speaks_is_switched_by_itself_and_all_others_stay(
    on: list[str], speaking: set[str]
) -> None:
    present = TunedSettings(serving=ServingSettings(ranking=RankingSettings(sources=tuple(on))))
    steps = SourceSteps(present, [each for each in SOURCES if each in speaking])
    ended = [present]
    while (step := steps.next([], ended)) is not None:
        assert steps.distance(present, step) == 1
        assert changes(present, step, steps.space).keys() == {SOURCES_ON}
        ended.append(step)
    differing = [{*on} ^ {*each.serving.ranking.sources} for each in ended[1:]]
    assert differing == [{each} for each in SOURCES if each in speaking - {"two_tower"}]
    # In what order they are named is no change.
    same = with_values(present, {SOURCES_ON: on[::-1]})
    assert not changes(present, same, steps.space)
