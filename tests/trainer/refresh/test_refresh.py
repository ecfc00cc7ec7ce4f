"""A refresh in this process: what it goes on from, and what it has kept when it goes on."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from structlog.testing import capture_logs

from feature_repo.schema import Item
from serving.bundle import read_manifest, verify
from serving.published_bundles import current_version
from tests.support import tiny_training as tiny
from tests.support.tiny_refresh import (
    ANY_LOSS,
    BEFORE,
    EXPORTING,
    GATES,
    JUDGING,
    NOW,
    TRAINING,
    UNJUDGED,
    UNTIL,
    USERS,
    KilledError,
    TinyRefresh,
    events,
    kill_at,
)
from trainer.comparison import CURRENT
from trainer.listener import Listener
from trainer.refresh.notes import Choice, NotedStart, Notes
from trainer.refresh.runs_file import RunsFile
from trainer.settings import WarmStartSettings
from trainer.train import Progress
from trainer.training_input_error import TrainingInputError

pytestmark = pytest.mark.slow


def test_a_refresh_goes_on_from_what_serves(shop: TinyRefresh) -> None:
    first = shop.served()
    cold = read_manifest(first)
    assert (cold.parent, cold.model["start"]) == (None, "cold start: no bundle serves yet")
    items = [*tiny.tiny_items(), Item(item_id="new", title="lamp 3")]
    second = shop.refreshed(UNTIL, items, gates=GATES)
    assert second.start == f"warm start from {first.name}"
    manifest = verify(second.bundle)
    assert manifest.parent == first.name
    assert manifest.model["start"] == second.start
    assert manifest.num_items == len(items)
    # What the start has seen is not what it is judged by.
    judged = {row.scorer: row.num_users for row in second.rows if row.task == "all"}
    assert judged["two-tower"] == judged["current bundle"] == USERS
    assert current_version(shop.bundles) == second.bundle.name


def test_a_refresh_from_nothing_is_not_compared_with_what_has_learned_from_the_answers(
    shop: TinyRefresh,
) -> None:
    cold = shop.settings.model_copy(update={"warm_start": WarmStartSettings(enabled=False)})
    shop.served()
    done = shop.refreshed(BEFORE + 1, settings=cold, gates=ANY_LOSS)
    asked = {row.scorer: row for row in done.rows if row.task == "all"}
    # Of two hours' answers one hour's are known.
    assert "current bundle, which has seen 50 % of the answers" in asked
    assert CURRENT not in asked
    assert not done.refusals
    assert "max_loss and min_gain were not asked" in done.left_open


def test_where_times_mean_nothing_last_events_are_held_out(shop: TinyRefresh) -> None:
    ordered = shop.settings.model_copy(update={"holdout": "last_events"})
    first = shop.refreshed(12, settings=ordered)
    assert {(row.task, row.num_users) for row in first.rows} == {("leave-one-out", USERS)}
    assert {"two-tower", "popularity"} <= {row.scorer for row in first.rows}
    assert read_manifest(first.bundle).data_window.events == USERS * 12
    second = start_of(shop, 14, settings=ordered)
    assert second.version is None
    assert second.reason.startswith(f"{first.bundle.name} has seen the last events")


def test_the_bundle_knows_what_says_nothing_for_an_item(shop: TinyRefresh) -> None:
    weighed = shop.settings.model_copy(update={"event_type_weights": {"hide": 0.0}, **UNJUDGED})
    hides = pl.when(pl.col("item_id") == "i0").then(pl.lit("hide")).otherwise("event_type")
    done = shop.refreshed(
        12, events_read=events(0, 12).with_columns(event_type=hides), settings=weighed
    )
    manifest = read_manifest(done.bundle)
    assert manifest.ranking is not None
    assert manifest.ranking.weightless == ("hide",)
    # The query tower reads them.
    assert set(manifest.event_types) == {"hide", "view"}


def test_an_incremental_refresh_learns_from_the_newest_days_alone(shop: TinyRefresh) -> None:
    shop.served()
    steps: list[int] = []
    warm = WarmStartSettings(epochs=1, min_users=10, days=0.2)
    update = {"warm_start": warm, "batch_size": 1, **UNJUDGED}
    newest = shop.settings.model_copy(update=update)
    listener = Listener(step=lambda progress: steps.append(progress.steps))
    done = shop.refreshed(UNTIL, settings=newest, listener=listener)
    assert done.start.startswith("warm start")
    # A window for each user: those of 30 hours are more than two in histories of twelve events.
    assert set(steps) == {USERS}
    # It knows all items and all events; what it was taught is new.
    manifest = read_manifest(done.bundle)
    assert manifest.num_items == tiny.NUM_ITEMS
    assert manifest.data_window.events == USERS * UNTIL
    # Nobody has acted since.
    later = events(0, UNTIL)
    late = later.tail(1).with_columns(
        event_id=pl.lit("late"), timestamp=pl.col("timestamp") + timedelta(days=9)
    )
    with pytest.raises(ValueError, match="nobody who was known acted since"):
        shop.refreshed(
            0,
            events_read=pl.concat([later, late.with_columns(user_id=pl.lit("somebody new"))]),
            settings=newest,
        )


def test_events_of_a_clock_that_is_ahead_are_learned_from_when_their_time_has_come(
    shop: TinyRefresh,
) -> None:
    """Else what happens until then would be taken for what the bundle has learned from."""

    def since_now(last: int) -> pl.DataFrame:
        shift = NOW - tiny.START
        return events(0, last).with_columns(pl.col("timestamp") + shift)

    ahead = since_now(48).tail(1)
    unjudged = shop.settings.model_copy(update=UNJUDGED)
    with capture_logs() as logs:
        # A day after `NOW`, and the next one another day later.
        first = shop.refreshed(0, events_read=pl.concat([since_now(20), ahead]), settings=unjudged)
    window = read_manifest(first.bundle).data_window
    assert (window.end, window.events) == (NOW + timedelta(hours=19), USERS * 20)
    said = [line["reason"] for line in logs if line["event"] == "events_wait"]
    assert [reason.partition(" events")[0] for reason in said] == ["1 of 601"]
    second = shop.refreshed(0, events_read=since_now(48))
    assert second.start == f"warm start from {first.bundle.name}"
    assert read_manifest(second.bundle).data_window.events == USERS * 48


def test_where_all_events_are_still_to_come_the_clock_is_in_doubt(shop: TinyRefresh) -> None:
    to_come = events(0, 4).with_columns(timestamp=pl.lit(NOW + timedelta(days=9)))
    reason = rf"all {USERS * 4} events are later than .* UTC\. Is this machine's clock right\?"
    with capture_logs() as logs, pytest.raises(TrainingInputError, match=reason):
        shop.refreshed(0, events_read=to_come)
    # Nor is it said that the next refresh will learn from them.
    assert "events_wait" not in [line["event"] for line in logs]


def start_of(shop: TinyRefresh, until: int, **options: Any) -> NotedStart:
    """Return what a refresh notes to go on from, which is killed when it has."""
    with pytest.raises(KilledError):
        shop.refreshed(until, checkpoint=shop.run(), listener=kill_at(JUDGING), **options)
    start = shop.run().notes.start
    assert start is not None
    return start


def choice_of(
    shop: TinyRefresh,
    until: int,
    on_step: Callable[[Progress], None] = lambda progress: None,
    **options: Any,
) -> Choice:
    """Return how a refresh has judged, which is killed when it has noted that."""
    listener = kill_at(TRAINING, on_step)
    with pytest.raises(KilledError):
        shop.refreshed(until, checkpoint=shop.run(), listener=listener, **options)
    choice = shop.run().notes.choice
    assert choice is not None
    return choice


def another(shop: TinyRefresh) -> TinyRefresh:
    return TinyRefresh(shop.folder / "another", shop.preset, shop.cache)


def test_a_refresh_that_was_killed_goes_on_with_what_it_had_judged(shop: TinyRefresh) -> None:
    def kill(progress: Progress) -> None:
        if progress.epoch == 2:
            raise KilledError

    with pytest.raises(KilledError):
        shop.refreshed(20, checkpoint=shop.run(), listener=Listener(step=kill))
    with np.load(shop.checkpoints / "held-out" / "best-epoch.npz") as kept:
        assert b'"number":1' in kept["epoch"].tobytes()
    steps: list[Progress] = []
    expected = choice_of(another(shop), 20)
    done = choice_of(shop, 20, steps.append)
    assert steps[0].epoch == 2
    assert done.epochs == expected.epochs
    assert [row.scorer for row in done.rows] == [row.scorer for row in expected.rows]
    for row, other in zip(done.rows, expected.rows, strict=True):
        assert row.metrics == pytest.approx(other.metrics, abs=0.05), row.scorer


class Forgetful(RunsFile):
    def write_notes(self, run_id: str, notes: str) -> None:
        if Notes.from_json(notes).choice is not None:
            raise KilledError
        super().write_notes(run_id, notes)


def kill_before_its_choice_is_noted(shop: TinyRefresh) -> None:
    """Begin a refresh that is killed when the model has been judged."""
    with pytest.raises(KilledError):
        shop.refreshed(20, checkpoint=shop.run(runs=Forgetful(shop.bundles)))


def test_one_that_was_killed_before_its_note_has_judged_all_the_same(shop: TinyRefresh) -> None:
    """Between the last epoch and the note nothing is left to train, and the rows are known."""
    kill_before_its_choice_is_noted(shop)
    steps: list[Progress] = []
    done = choice_of(shop, 20, steps.append)
    assert {"two-tower", "popularity"} <= {row.scorer for row in done.rows}
    assert not steps


def test_a_refresh_goes_on_with_the_events_that_there_were_when_it_began(
    shop: TinyRefresh,
) -> None:
    """A shop has others each minute: beside them nothing is trained again, and nothing claimed."""
    shop.killed(EXPORTING)
    later = UNTIL + 4
    newcomer = events(0, later).filter(pl.col("user_id") == "u003")
    newcomer = newcomer.with_columns(user_id=pl.lit("a"), event_id="a" + pl.col("event_id"))
    grown = pl.concat([events(0, later), newcomer])
    steps: list[Progress] = []
    done = shop.refreshed(
        0, events_read=grown, checkpoint=shop.run(), listener=Listener(step=steps.append)
    )
    assert not steps
    window = read_manifest(done.bundle).data_window
    assert (window.events, window.end) == (
        USERS * UNTIL,
        tiny.START + timedelta(hours=UNTIL - 1),
    )


def test_what_is_gone_on_with_is_judged_without_those_who_were_erased_meanwhile(
    shop: TinyRefresh,
) -> None:
    """The others take their places, and the newest slice is another."""
    kill_before_its_choice_is_noted(shop)
    left = events(0, 20).filter(pl.col("user_id") != "u003")
    expected = choice_of(another(shop), 0, events_read=left)
    done = choice_of(shop, 0, events_read=left)
    for row, other in zip(done.rows, expected.rows, strict=True):
        assert (row.task, row.scorer, row.num_users) == (other.task, other.scorer, other.num_users)
        # Two trainings of a few people are alike, not the same; what is simply counted is.
        if row.scorer in ("popularity", "item-kNN, cosine"):
            assert row.metrics == pytest.approx(other.metrics, abs=1e-6), row.scorer


def test_a_new_refresh_does_not_go_on_from_the_epochs_of_an_old_one(shop: TinyRefresh) -> None:
    shop.killed(EXPORTING)
    assert (shop.checkpoints / "full").is_dir()
    stages: list[str] = []
    trained: dict[str, list[int]] = {}

    def step(progress: Progress) -> None:
        trained.setdefault(stages[-1], []).append(progress.epoch)

    listener = kill_at(EXPORTING, step).also(stages.append)
    with pytest.raises(KilledError):
        shop.refreshed(UNTIL + 10, checkpoint=shop.run("another"), listener=listener)
    assert {stage: epochs[0] for stage, epochs in trained.items()} == {JUDGING: 1, TRAINING: 1}
