"""Ask, then learn: nothing of an answer is known before it was asked for."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from matplotlib.figure import Figure

from feature_repo.archive import Archive
from feature_repo.co_visitation_settings import CoVisitationSettings
from feature_repo.online_features import ItemEmbedding
from feature_repo.schema import Item
from riverrun.cli.replay import report
from riverrun.cli.replay_tables import asked_of, refreshes_table
from riverrun.errors import UserError
from riverrun.importing import PresetData
from riverrun.protocols import PROTOCOLS
from riverrun.replay.questions import (
    Moment,
    Period,
    last_events_period,
    moments,
    split_period,
)
from riverrun.replay.refreshed import (
    BOTH,
    COLD,
    REFRESHED,
    STREAMING,
    WARM,
    replay_refreshed,
)
from riverrun.replay.replay import CO_VISITATION, FOLD_IN, FROZEN, HISTORY, replay
from riverrun.replay.replayed_period import preset_period, shop_period
from riverrun.replay.running import ReplayResult, Run, ShopMaker
from riverrun.replay.scoring import ALL, NEW_ITEMS, NOVEL, Scores
from riverrun.replay.settings import ReplaySettings
from riverrun.replay.shop import ReplayShop
from riverrun.replay.training import bundle_before
from riverrun.settings import Settings
from serving.bundle_loading import load_bundle
from serving.ranking.settings import RankingSettings
from serving.settings import ServingSettings
from serving.text_embedding_cache import TextEmbeddingCache
from streaming.settings import FoldInSettings, StreamingSettings
from tests.support.tiny_bundle import build_tiny_bundle, tiny_items
from tests.support.tiny_refresh import events

START = datetime(2026, 1, 10, tzinfo=UTC)
ITEMS = [item.model_copy(update={"published_at": None}) for item in tiny_items(40)]
NEW = Item(item_id="new", title="xylophone")
VARIANTS = [FROZEN, HISTORY, CO_VISITATION, FOLD_IN]
SETTINGS = ReplaySettings(
    StreamingSettings(
        co_visitation=CoVisitationSettings(window_days=5.0),
        fold_in=FoldInSettings(prior=0.5),
    ),
    ServingSettings(ranking=RankingSettings(weights={"co_visitation": 0.1, "trending": 0.1})),
    length=10,
)


def frame(rows: list[tuple[str, str, float]]) -> pl.DataFrame:
    """Events (user, item, hour) as an archive has them."""
    return pl.DataFrame(
        [
            {
                "event_id": f"e{n:03}",
                "user_id": user,
                "item_id": item,
                "event_type": "view",
                "timestamp": START + timedelta(hours=hour),
                "value": None,
            }
            for n, (user, item, hour) in enumerate(rows)
        ],
        schema={
            "event_id": pl.String,
            "user_id": pl.String,
            "item_id": pl.String,
            "event_type": pl.String,
            "timestamp": pl.Datetime("us", "UTC"),
            "value": pl.Float64,
        },
    )


# i0, i5, ... are shoes, i1, i6, ... are kettles; nobody acted on i39 before.
PAST = [(f"u{n}", f"i{n + step * 5}", -50.0 + step) for n in range(5) for step in range(3)]
PAST += [("v", f"i{n}", -60.0) for n in range(39)]


def run(folder: Path, rows: list[tuple[str, str, float]], **options: Any) -> Scores:
    period = split_period(frame(PAST + rows), [*ITEMS, NEW], START)
    run = Run(period, **options)
    replay(run, maker(folder))
    return run.result.scores


def maker(folder: Path) -> ShopMaker:
    bundle = load_bundle(build_tiny_bundle(folder / "bundles", ITEMS))
    return ShopMaker(bundle, SETTINGS, folder / "replay", TextEmbeddingCache())


def means(scores: Scores, slice_: str) -> dict[str, float]:
    return {row.variant: row.ndcg for row in scores.rows() if row.slice == slice_}


def test_moments_hold_what_happened_at_once_and_items_come_with_their_first_event() -> None:
    rows = [("b", "i1", 1), ("a", "new", 1), ("a", "i2", 1), ("a", "i2", 1), ("a", "new", 2)]
    first, second = moments(split_period(frame(PAST + rows), [*ITEMS, NEW], START))
    assert [(q.user_id, set(q.answers)) for q in first.questions] == [
        ("a", {"new", "i2"}),
        ("b", {"i1"}),
    ]
    assert len(first.events) == 4
    assert [item.item_id for item in first.items] == ["new"]
    assert second.items == ()


def test_an_item_published_earlier_arrives_earlier() -> None:
    early = NEW.model_copy(update={"published_at": START + timedelta(hours=1)})
    rows = [("a", "i1", 0.5), ("a", "i1", 1.5), ("a", "new", 3)]
    found = list(moments(split_period(frame(PAST + rows), [*ITEMS, early], START)))
    assert [[item.item_id for item in moment.items] for moment in found] == [[], ["new"], []]


def test_the_last_events_of_each_user_are_a_period() -> None:
    rows = [("a", f"i{n}", n) for n in range(5)] + [("b", "i1", 0)]
    period = last_events_period(frame(rows), ITEMS, 2)
    assert period.future["item_id"].to_list() == ["i1", "i3", "i4"]
    assert period.past["item_id"].to_list() == ["i0", "i1", "i2"]
    assert {item.item_id for item in period.known_items} == {"i0", "i1", "i2"}


def test_a_bundle_may_know_the_past_and_no_more(tmp_path: Path) -> None:
    rows = [("a", f"i{n}", n) for n in range(5)] + [("b", "i1", 0), ("b", "i2", 1)]
    period = last_events_period(frame(rows), ITEMS, 2)
    assert period.start < period.known_until == period.begins == START + timedelta(hours=2)
    path = build_tiny_bundle(tmp_path / "bundles", ITEMS)
    manifest = path / "manifest.json"
    document = orjson.loads(manifest.read_bytes())
    for end in (period.known_until, period.known_until + timedelta(seconds=1)):
        document["data_window"]["end"] = end
        manifest.write_bytes(orjson.dumps(document))
        if end == period.known_until:
            assert bundle_before(period, path).path == path
            continue
        with pytest.raises(UserError, match="must be trained on events until"):
            bundle_before(period, path)


def test_a_frozen_shop_learns_nothing_and_the_others_do(tmp_path: Path) -> None:
    # u0 has seen shoes; now kettles, one after another, always followed by the same lamp.
    rows = [("u0", f"i{1 + 5 * n}", 24.0 * n) for n in range(3, 7)]
    rows += [(user, item, 24.0 * n + 0.2 * place) for n, user in enumerate(("u2", "u3", "u4"))
             for place, item in enumerate(("i26", "i38"))]  # fmt: skip
    scores = run(tmp_path, rows)
    novel = means(scores, NOVEL)
    assert list(novel) == VARIANTS
    assert novel[HISTORY] > novel[FROZEN]
    assert novel[CO_VISITATION] > novel[HISTORY]
    assert {row.questions for row in scores.rows() if row.slice == NOVEL} == {10}


def test_an_answer_is_learned_after_it_was_asked_for(tmp_path: Path) -> None:
    """Whatever comes at a moment, all that was asked until then is answered the same."""
    rows = [("u0", "i11", 1.0), ("u1", "i22", 2.0)]
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one = run(tmp_path / "one", [*rows, ("u0", "i16", 3.0), ("u0", "i17", 4.0)])
    other = run(tmp_path / "other", [*rows, ("u0", "i16", 3.0), ("u0", "i38", 4.0)])
    last = START + timedelta(hours=4)
    assert [s for s in one.scores if s.at < last] == [s for s in other.scores if s.at < last]
    # Both were told the same before the last moment: only what was asked for differs.
    assert {s.variant for s in one.scores if s.at == last} == set(VARIANTS)


def test_all_variants_agree_before_anything_is_learned(tmp_path: Path) -> None:
    scores = run(tmp_path, [("u0", "i10", 1.0)])
    first = {s.variant: (s.ndcg, s.recall) for s in scores.scores if s.slice == ALL}
    assert first[FROZEN] == first[HISTORY]
    assert first[CO_VISITATION] == first[FOLD_IN]


def test_a_new_item_is_asked_for_once_it_is_known_and_moves_to_its_users(tmp_path: Path) -> None:
    # Those who look at kettles look at the xylophone, whose text says nothing.
    rows = [("u1", "new", 1.0)]
    for n in range(6):
        rows += [(f"n{n}", "i1", 2.0 + n), (f"n{n}", "i6", 2.1 + n), (f"n{n}", "new", 2.2 + n)]
    scores = run(tmp_path, rows)
    assert {row.questions for row in scores.rows() if row.slice == NEW_ITEMS} == {6}
    new = {row.variant: row.recall for row in scores.rows() if row.slice == NEW_ITEMS}
    assert new[FOLD_IN] >= new[CO_VISITATION] >= new[HISTORY]
    assert new[FOLD_IN] > new[HISTORY]


def test_an_item_of_the_past_moves_to_its_users(tmp_path: Path) -> None:
    period = split_period(frame([*PAST, ("u1", "i38", 1.0)]), ITEMS, START)
    with maker(tmp_path).opened(Run(period), {"moving": SETTINGS.immediate}) as (shop,):
        item_ids = ["i37", "i38"]
        rows = shop.catalogue.rows.rows_of(item_ids)
        before, _ = shop.holder.current.table.embeddings_of_rows(rows)
        for moment in moments(period):
            shop.learn(moment)
        after, _ = shop.holder.current.table.embeddings_of_rows(rows)
        assert (after != before).any(axis=1).tolist() == [False, True]
        # The bundle has the others: they are not embedded anew.
        assert [each is not None for each in shop.online.get(ItemEmbedding, item_ids)] == [
            False,
            True,
        ]


def test_no_past_lies_ahead_of_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what others did later would trend the more, the further ahead it lies."""
    clock: list[datetime] = []
    learn = ReplayShop.learn

    def watched(shop: ReplayShop, moment: Moment) -> None:
        clock.append(shop.now)
        learn(shop, moment)
        clock.append(shop.now)

    monkeypatch.setattr(ReplayShop, "learn", watched)
    rows = [*PAST, *(("a", f"i{n}", float(n - 10)) for n in range(5))]
    period = last_events_period(frame(rows), ITEMS)
    replay(Run(period), maker(tmp_path))
    assert period.start == START - timedelta(hours=60)
    assert min(clock) == period.known_until == START - timedelta(hours=8)
    assert max(clock) == START - timedelta(hours=6)


def test_an_interrupted_replay_has_scores(tmp_path: Path) -> None:
    result = ReplayResult()

    def stop(moment: Moment) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [("u0", "i10", 1.0), ("u0", "i15", 2.0)], on_moment=stop, result=result)
    assert {score.at for score in result.scores.scores} == {START + timedelta(hours=1)}


def test_scores_are_kept_by_span_of_time() -> None:
    scores = Scores()
    for day in (0, 1, 20):
        scores.judge("v", NOVEL, START + timedelta(days=day), ["a", "b"], {"b"})
    scores.judge("v", NOVEL, START, ["a"], set())
    assert scores.span().name == "week"
    assert [(row.span, row.questions) for row in scores.over_time(7)] == [(0, 2), (2, 1)]


def test_ndcg_and_recall_over_time_are_printed_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    scores = Scores()
    for day, place in ((0, 1), (20, 15)):
        shown = ["x"] * (place - 1) + ["right"]
        scores.judge("v", NOVEL, START + timedelta(days=day), shown, {"right"})
    report(scores, tmp_path / "replay.png", None)
    printed = " ".join(capsys.readouterr().out.split())
    for name, expected in (("ndcg@10", (1.0, 0.0)), ("recall@20", (1.0, 1.0))):
        first, last = (f"{value:.4f}" for value in expected)
        assert re.search(rf"{name} by week week questions v [─ ]+ 1 1 {first} 3 1 {last}", printed)
        (axes,) = (each for each in drawn[0].axes if name in each.get_ylabel())
        assert axes.lines[0].get_xydata().tolist() == [[1.0, expected[0]], [3.0, expected[1]]]


def test_some_of_the_questions_may_be_asked_and_everything_is_learned() -> None:
    rows = [(f"u{n % 7}", f"i{n}", n // 3) for n in range(60)] + [("u0", "i1", 5)] * 3
    period = split_period(frame(PAST + rows), [*ITEMS, NEW], START)
    questions = [(m.at, q) for m in moments(period) for q in m.questions]
    some = period.sampled(9)
    asked = [(m.at, q) for m in moments(some) for q in m.questions]
    assert len(asked) == 9
    assert set(asked) < set(questions)
    assert asked == [(m.at, q) for m in moments(period.sampled(9)) for q in m.questions]
    assert asked != [(m.at, q) for m in moments(period.sampled(9, seed=1)) for q in m.questions]
    assert sum(len(m.events) for m in moments(some)) == len(rows)
    every = period.sampled(1_000)
    assert [(m.at, q) for m in moments(every) for q in m.questions] == questions
    assert asked_of(every) == f"all {len(questions)} questions asked"
    assert asked_of(some).startswith(f"9 of {len(questions)} questions asked")


def test_events_of_a_weightless_type_are_learned_and_no_answers() -> None:
    rows = [("u1", "i1", 1.0), ("u1", "i2", 1.0), ("u2", "i3", 1.0), ("u1", "i4", 2.0)]
    future = frame(rows).with_columns(event_type=pl.Series(["view", "hide", "hide", "hide"]))
    events = pl.concat([frame(PAST), future])
    period = replace(split_period(events, ITEMS, START), weightless={"hide"})
    (moment,) = moments(period)
    assert [(q.user_id, q.answers) for q in moment.questions] == [("u1", ("i1",))]
    assert len(moment.events) == len(rows)
    assert asked_of(period) == "all 1 questions asked"
    (moment,) = moments(replace(period, asked=period.questions))
    assert len(moment.questions) == 1


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_replayed_shop_keeps_histories_as_its_protocol_says(name: str) -> None:
    protocol = PROTOCOLS[name]
    rows = [("u", f"i{n}", 24.0 * (n - 120)) for n in range(140)]
    data = PresetData(ITEMS, frame(rows))
    shop = preset_period(protocol, data, validation=False).shop
    assert shop.length == protocol.service.history_length
    assert shop.serving == protocol.service.serving


def test_an_empty_period_has_no_start() -> None:
    assert Period(frame([]), frame([]), [], []).num_events == 0


@pytest.mark.parametrize(("days", "expected"), [(7, [7.0, 15.0]), (1, [1.0, 7.0, 15.0])])
def test_models_are_renewed_on_what_was_known_and_serve_from_then_on(
    tmp_path: Path, days: int, expected: list[float]
) -> None:
    asked: list[tuple[float, set[str], int]] = []

    def retrain(events: pl.DataFrame, items: Sequence[Item], now: datetime) -> Path:
        at = (now - START) / timedelta(days=1)
        newest: Any = events["timestamp"].max()
        assert newest < now
        asked.append((at, {item.item_id for item in items}, events.height))
        return build_tiny_bundle(tmp_path / "new", items, seed=len(asked), created_at=now)

    rows = [("u0", "i10", 1.0), ("u1", "new", 24.0), ("u0", "i20", 30.0), ("u0", "i15", 48.5)]
    rows += [("u0", "i25", 24.0 * 7.05), ("u0", "i30", 24.0 * 15.1), ("u1", "i11", 24.0 * 15.2)]
    period = split_period(frame(PAST + rows), [*ITEMS, NEW], START)
    run = Run(period)
    replay_refreshed(run, maker(tmp_path), every=timedelta(days=days), trainers={WARM: retrain})
    scores = run.result.scores.scores
    assert [int(at) for at, _, _ in asked] == expected
    # What had happened, and what had arrived, by then.
    for at, items, height in asked:
        assert height == len(PAST) + sum(hour < at * 24 - 1e-6 for _, _, hour in rows)
        assert "new" in items
    assert len(run.result.refreshes[WARM]) == len(asked)
    variants = (FROZEN, f"{REFRESHED}, {WARM}", STREAMING, f"{BOTH}, {WARM}")
    first = {s.variant: (s.ndcg, s.recall) for s in scores if s.at < START + timedelta(1)}
    assert first[FROZEN] == first[f"{REFRESHED}, {WARM}"]
    assert first[STREAMING] == first[f"{BOTH}, {WARM}"]
    assert {score.variant for score in scores} == set(variants)


def test_a_model_is_renewed_on_all_of_a_past_that_ends_late_for_some(tmp_path: Path) -> None:
    rows = [*PAST, *(("a", f"i{n}", float(24 * n)) for n in range(5))]
    period = last_events_period(frame(rows), ITEMS)
    known: list[set[str]] = []

    def retrain(events: pl.DataFrame, items: Sequence[Item], now: datetime) -> Path:
        # Of user a, the past ends after the first refresh, which leaves out what is later than it.
        assert (events["timestamp"] <= now).all()
        known.append(set(events["event_id"]))
        return build_tiny_bundle(tmp_path / "new", items, seed=len(known), created_at=now)

    replay_refreshed(
        Run(period), maker(tmp_path), every=timedelta(hours=10), trainers={WARM: retrain}
    )
    assert len(known) > 1
    assert all(set(period.past["event_id"]) <= each for each in known)


def test_warm_and_cold_starts_are_told_apart_by_minutes_and_ndcg() -> None:
    scores = Scores()
    for start, place in ((WARM, 1), (COLD, 2)):
        shown = ["x"] * (place - 1) + ["right"]
        for slice_ in (NOVEL, ALL):
            scores.judge(f"{REFRESHED}, {start}", slice_, START, shown, {"right"})
    refreshes = {WARM: [60.0, 120.0], COLD: [600.0]}
    table = refreshes_table(refreshes, scores, "weekly")
    columns = [list(column.cells) for column in table.columns]
    assert columns[:4] == [[WARM, COLD], ["2", "1"], ["1.5", "10.0"], ["3.0", "10.0"]]
    assert columns[4] == columns[5] == ["1.0000", f"{1 / np.log2(3):.4f}"]


def test_a_shop_is_not_replayed_about_what_is_still_to_come(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    archive = Archive(settings.archive)
    archive.write_items("items", tiny_items())
    to_come = events(48, 72).with_columns(timestamp=datetime.now(UTC) + timedelta(days=9))
    archive.events.write("to-come", to_come)
    with pytest.raises(UserError, match=r"archive: all .* Is this machine's clock right\?"):
        shop_period(settings, 1)
    happened = events(0, 48)
    archive.events.write("happened", happened)
    period = shop_period(settings, 1).period
    assert period.past.height + period.future.height == happened.height
