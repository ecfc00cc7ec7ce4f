"""`riverrun tune` on a tiny shop: what it asks, prints, writes, keeps and refuses."""

import os
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from errno import EACCES, ENOSPC
from pathlib import Path
from typing import Any

import pytest
import typer

from feature_repo.archive import Archive
from riverrun.cli.console import err, out
from riverrun.cli.tune import NOT_WRITTEN, tune
from riverrun.errors import RunFailedError, UserError
from riverrun.settings import Settings, load_settings
from riverrun.tuning import Bounds, shop_tuning
from serving.ranking.settings import RankingSettings
from serving.settings import ServingSettings
from serving.source_names import SOURCES
from tests.support import tiny_training as tiny
from tests.support.step_by_step import step_by_step
from tests.support.tiny_refresh import USERS, events
from trainer.comparison import CANDIDATE
from trainer.judging import judge_epochs
from trainer.listener import Listener
from trainer.ranking import learning_to_rank, ranker
from trainer.tuning.objectives import NewestSliceObjectives
from trainer.tuning.search import Answers

pytestmark = pytest.mark.slow

SETTINGS = f"""\
home = "{{home}}"

{tiny.TRAINING}epochs = 2

[training.ranking]
min_users = 5
slices = 1
epochs = 2
"""


@pytest.fixture(autouse=True, scope="module")
def _step_by_step() -> Iterator[None]:
    with step_by_step():
        yield


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_preset(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def file(tmp_path: Path, preset: Path) -> Path:
    file = tmp_path / "riverrun.toml"
    file.write_text(SETTINGS.format(home=tmp_path / "shop", preset=preset))
    archive = Archive(load_settings(file).archive)
    archive.events.write("tiny", events(0, 30))
    archive.write_items("tiny", tiny.tiny_items())
    return file


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    for console in (out, err):
        monkeypatch.setattr(console, "width", 200)


@pytest.fixture(autouse=True)
def learned_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few examples a ranker learns for many epochs, and is tried: no test asks what it knows."""
    monkeypatch.setattr(ranker, "MOST_EPOCHS", 2)
    monkeypatch.setattr(learning_to_rank, "TRIED_BELOW", 0)


def bounds(trials: int) -> Bounds:
    return Bounds(trials, lambda: True)


def test_both_parts_are_searched_and_a_second_run_has_nothing_left_to_try(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_text()
    tune(trials=2, model=True, settings_file=file)
    first = capsys.readouterr()
    assert "ranking (2 trials, 0 of them given up early)" in first.out
    assert "sources (2 trials, 0 of them given up early)" in first.out
    assert "model (2 trials, 0 of them given up early)" in first.out
    # Half of those who can be asked teach the ranker; of the others, half choose.
    assert f"NDCG@10, {USERS // 2 - USERS // 4} users" in first.out
    assert "ease_regularisation" in first.out
    assert file.read_text() == before

    def asked_again(*parts: Any) -> Answers:
        raise AssertionError

    monkeypatch.setattr(NewestSliceObjectives, "_answers", asked_again)
    tune(trials=2, model=True, settings_file=file)
    assert capsys.readouterr().out == first.out
    # Of other events it says nothing.
    Archive(load_settings(file).archive).events.write("later", events(30, 31))
    with pytest.raises(AssertionError):
        tune(trials=2, settings_file=file)


def test_the_objective_is_the_list_as_a_whole_as_a_refresh_judges_it(file: Path) -> None:
    """The first trial is of the settings at present: its mean is the candidate's row."""
    settings = load_settings(file)
    with shop_tuning(settings, Listener()) as tuning:
        found = tuning.ranking(bounds(1))
        material = tuning.objectives.material
        judged = judge_epochs(material, None, None, lambda step: None, settings.service_settings)
    row = next(row for row in judged.rows if (row.scorer, row.task) == (CANDIDATE, "all"))
    (present,) = found.results
    values = [*present.answers.choosing, *present.answers.confirming]
    assert row.num_users == len(values)
    # Training on several threads does not add up to the same bits.
    assert sum(values) / len(values) == pytest.approx(row.metrics["ndcg@10"], abs=0.05)


def plant(monkeypatch: pytest.MonkeyPatch, answers: Any) -> None:
    """Let a trial's answers be these, whatever a two-tower says, which then need not be trained."""
    monkeypatch.setattr(NewestSliceObjectives, "_answers", answers)
    monkeypatch.setattr(NewestSliceObjectives, "trained", lambda *_: object())


def planted(better: float, confirmed: float) -> Any:
    def answers(self: Any, settings: Any, newest: Any) -> Answers:
        gains = settings.training.ranking.ease_days != 60.0
        return Answers([0.1 + better * gains] * 8, [0.1 + confirmed * gains] * 8)

    return answers


def test_what_is_better_is_written_and_what_only_flatters_is_not(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_text()
    plant(monkeypatch, planted(0.1, -0.1))
    with pytest.raises(typer.Exit) as ended:
        tune(trials=2, write=True, settings_file=file)
    assert ended.value.exit_code == NOT_WRITTEN
    refused = capsys.readouterr().out
    assert "No gain: -0.1000 NDCG@10" in refused
    assert "[training" not in refused
    assert file.read_text() == before
    plant(monkeypatch, planted(0.1, 0.1))
    tune(trials=2, write=True, fresh=True, settings_file=file)
    captured = capsys.readouterr()
    assert "A gain: +0.1000 NDCG@10, 95 % interval +0.1000 to +0.1000" in captured.out
    printed = tomllib.loads(captured.out[captured.out.index("\n[training") :])
    # Where all are as good, the sources stay.
    assert "no change of them is beyond noise" in captured.out
    assert load_settings(file).serving == ServingSettings()
    written = load_settings(file).training
    assert written.ranking.ease_days == printed["training"]["ranking"]["ease_days"] != 60.0
    assert written.ranking.min_users == 5


def test_a_source_that_only_harms_is_written_off_and_no_other_and_the_others_stay(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(self: Any, settings: Any, newest: Any) -> Answers:
        harm = 0.1 * ("category" in settings.serving.ranking.sources)
        return Answers([0.5 - harm] * 8, [0.5 - harm] * 8)

    plant(monkeypatch, answers)
    tune(trials=9, write=True, settings_file=file)
    printed = capsys.readouterr().out
    assert "sources off" in printed
    assert "beyond noise" not in printed
    written = load_settings(file)
    assert written.serving == ServingSettings(
        ranking=RankingSettings(sources=tuple(each for each in SOURCES if each != "category"))
    )
    assert load_settings(file).training.ranking.min_users == 5
    assert "[training" not in printed


def test_a_search_does_not_know_what_is_still_to_come(file: Path) -> None:
    settings = load_settings(file)
    with shop_tuning(settings, Listener()) as tuning:
        data = tuning.data
    to_come = events(30, 40).with_columns(timestamp=datetime.now(UTC) + timedelta(days=9))
    Archive(settings.archive).events.write("to-come", to_come)
    with shop_tuning(settings, Listener()) as tuning:
        assert tuning.data == data


def test_only_sources_that_say_anything_are_searched(file: Path) -> None:
    def speaking(settings: Settings) -> set[str]:
        with shop_tuning(settings, Listener()) as tuning:
            return set(tuning.objectives.speaking(settings.training))

    silent = {"co_visitation", "new_arrivals", "transitions"}
    assert speaking(load_settings(file)) == {*SOURCES} - silent
    file.write_text(
        file.read_text() + "transition_distance = 3\n[streaming.co_visitation]\nneighbours = 9\n"
    )
    dated = [item.model_copy(update={"published_at": tiny.START}) for item in tiny.tiny_items()]
    Archive(load_settings(file).archive).write_items("dated", dated)
    assert speaking(load_settings(file)) == {*SOURCES}


def test_when_time_is_up_no_two_tower_is_trained_to_search_the_model(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, planted(0.1, 0.1))
    tune(trials=2, minutes=1e-6, model=True, settings_file=file)
    captured = capsys.readouterr()
    # What others are compared with is tried all the same.
    assert "ranking (1 trials" in captured.out
    assert "Nothing but the settings at present was tried." in captured.out
    assert "model (" not in captured.out
    assert "sources (" not in captured.out
    assert "no time is left to search the sources and the model" in captured.err
    tune(trials=2, model=True, settings_file=file)
    captured = capsys.readouterr()
    assert "model (2 trials" in captured.out
    assert "no time is left" not in captured.err


def test_an_interrupt_keeps_what_was_found(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, calls = planted(0.1, 0.1), []

    def interrupted(*parts: Any) -> Answers:
        calls.append(parts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return answers(*parts)

    plant(monkeypatch, interrupted)
    tune(trials=9, model=True, settings_file=file)
    captured = capsys.readouterr()
    assert "ranking (2 trials" in captured.out
    assert "sources (" not in captured.out
    assert "model (" not in captured.out
    assert "A gain: +0.1000" in captured.out
    assert "interrupted" in captured.err
    tune(trials=4, settings_file=file)
    captured = capsys.readouterr()
    assert "ranking (4 trials" in captured.out
    assert "sources (4 trials" in captured.out
    assert len(calls) == 5 + 4


def test_what_cannot_be_searched_is_refused_by_name(file: Path) -> None:
    settings = load_settings(file)
    with shop_tuning(settings, Listener()), pytest.raises(RunFailedError, match="another search"):
        tune(settings_file=file)
    file.write_text(file.read_text().replace("[training]\n", "[training]\nholdout_share = 0.0\n"))
    with pytest.raises(UserError, match=r"`holdout_share` must be above 0\. Received: 0\.0\."):
        tune(settings_file=file)
    with pytest.raises(UserError, match="the catalogue is empty"):
        tune(home=file.parent / "nobody")
    with pytest.raises(UserError, match=r"--minutes must be above 0\. Received: 0\."):
        tune(minutes=0)


@pytest.mark.parametrize(("number", "kind"), [(ENOSPC, RunFailedError), (EACCES, UserError)])
def test_a_full_disk_may_pass_and_a_folder_that_is_not_to_be_used_does_not(
    file: Path, number: int, kind: type[Exception]
) -> None:
    settings = load_settings(file)
    reason = os.strerror(number)
    match = rf"^{settings.home}: .*{reason}"
    with pytest.raises(kind, match=match), shop_tuning(settings, Listener()):
        raise OSError(number, reason)
