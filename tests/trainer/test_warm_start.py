"""A training goes on from a bundle: every weight at its new place, or none and a reason."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from feature_repo.schema import Item
from serving.bundle import MANIFEST, file_entry, read_manifest
from serving.published_bundles import set_current
from tests.support import tiny_training as tiny
from trainer.export import BundleNote, export_bundle
from trainer.interactions import Interactions
from trainer.lesson import Lesson
from trainer.query_tower import QueryTower
from trainer.ranking.settings import RankerSettings
from trainer.settings import TextSettings, TrainingSettings, WarmStartSettings
from trainer.start import Start, choose_start, start_from
from trainer.train import TrainingHooks, train
from trainer.trained_model import TrainedModel
from trainer.warm_start import WEIGHTS, ColdStartError, WarmStart, _moved, carry_over
from trainer.windows import make_windows

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("trained_step_by_step")]

SETTINGS = tiny.tiny_settings(epochs=2)
PLAIN = tiny.tiny_settings(epochs=1, transformer_layers=0)
NAMES = st.lists(st.text("abcdef", min_size=1, max_size=2), unique=True, max_size=12)


def trained(
    settings: TrainingSettings = SETTINGS,
    columns: Interactions | None = None,
    warm: WarmStart | None = None,
    checkpoints: Path | None = None,
) -> TrainedModel:
    columns = tiny.tiny_interactions() if columns is None else columns
    texts = np.resize(tiny.tiny_text_embeddings(), (len(columns.items), tiny.TEXT_DIMENSION))
    windows = make_windows(columns, settings)
    tower = tiny.tiny_text_tower(settings.text.lora_rank)
    lesson = Lesson(columns, windows, settings, texts, warm)
    return train(lesson, tower, TrainingHooks(checkpoints))


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return trained()


@pytest.fixture(scope="module")
def published(model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_bundle(model, tmp_path_factory.mktemp("bundles"), BundleNote(tiny.START))


def weights_of(model: TrainedModel) -> dict[str, np.ndarray]:
    return {each.path: each.numpy() for each in model.two_tower.trainable_variables}


def test_weights_are_read_back_by_names_that_stay(model: TrainedModel, published: Path) -> None:
    start = WarmStart.read(published, SETTINGS)
    expected = weights_of(model)
    assert len(expected) == len(model.two_tower.trainable_variables)
    assert start.weights.keys() == expected.keys()
    for name, weight in expected.items():
        np.testing.assert_array_equal(start.weights[name], weight)
    assert WEIGHTS in read_manifest(published).files


def test_no_weight_is_named_by_what_keras_counts() -> None:
    """Such a name is another one in another process."""
    tower = QueryTower(16, 8, num_event_types=2, num_layers=3, name="query_tower")
    tower.build()
    names = [weight.path for weight in tower.weights]
    assert len(set(names)) == len(names)
    for name in names:
        assert not any(
            part.startswith(("dense", "layer_norm", "multi")) for part in name.split("/")
        )


def test_a_start_with_nothing_new_is_the_model_itself(model: TrainedModel, published: Path) -> None:
    start = WarmStart.read(published, SETTINGS)
    again = trained(SETTINGS.model_copy(update={"learning_rate": 1e-12, "epochs": 1}), warm=start)
    before, after = model.candidate_embeddings(), again.candidate_embeddings()
    np.testing.assert_allclose(after, before, atol=1e-5)
    users = np.arange(5)
    np.testing.assert_allclose(
        again.query_embeddings(users, after), model.query_embeddings(users, before), atol=1e-4
    )
    assert again.losses[0] == pytest.approx(model.losses[-1], rel=0.1)
    assert again.losses[0] < model.losses[0]


def test_rows_move_to_where_their_names_are_now(published: Path) -> None:
    """Items, a category, a brand and an event type more, others less, in another order."""
    start = WarmStart.read(published, SETTINGS)
    items = [
        Item(item_id="a-new-one", title="lamp 3", categories=("aaa",), brand="acme", price=2.0),
        *reversed(tiny.tiny_items()[5:]),
    ]
    old = tiny.tiny_interactions()
    rows = [
        {
            "event_id": f"e{event}",
            "user_id": old.user_ids[old.user[event]],
            "item_id": old.items[old.item[event]].item_id,
            "event_type": ("cart", "view")[event % 2],
            "timestamp": tiny.START + timedelta(hours=event),
        }
        for event in range(len(old.item))
    ]
    columns = Interactions.from_frame(
        pl.DataFrame(rows, schema_overrides={"timestamp": pl.Datetime("us", "UTC")}), items
    )
    settings = SETTINGS.model_copy(update={"learning_rate": 1e-12, "epochs": 1})
    moved = trained(settings, columns, start)
    fresh = trained(settings, columns)
    weights, initial = weights_of(moved), weights_of(fresh)

    def rows_of(table: str, names: list[str], before: list[str]) -> None:
        path = f"two_tower/{table}"
        for row, name in enumerate(names, 1):
            place = before.index(name) + 1 if name in before else None
            expected = initial[path][row] if place is None else start.weights[path][place]
            np.testing.assert_allclose(weights[path][row], expected, atol=1e-5, err_msg=name)

    names = moved.two_tower.candidate_tower.vocabulary
    rows_of("candidate_tower/id", list(names.item_ids), list(start.vocabulary.item_ids))
    rows_of("candidate_tower/category", list(names.categories), list(start.vocabulary.categories))
    rows_of("candidate_tower/brand", list(names.brands), list(start.vocabulary.brands))
    rows_of("candidate_tower/tag", list(names.tags), list(start.vocabulary.tags))
    rows_of("query_tower/type", list(columns.event_types), list(start.event_types))
    rows_of("query_tower/type_embeddings", list(columns.event_types), list(start.event_types))
    assert list(columns.event_types) == ["cart", "view"]
    # The buckets of prices mean what they meant.
    assert list(names.price_boundaries) == list(start.vocabulary.price_boundaries)


@given(NAMES, NAMES)
def test_a_table_moves_name_by_name(before: list[str], after: list[str]) -> None:
    table = np.arange(len(before) + 1, dtype=np.float32)[:, None]
    initial = -1 - np.arange(len(after) + 1, dtype=np.float32)[:, None]
    moved = _moved(table, before, after, initial)
    for row, name in enumerate(after, 1):
        expected = table[before.index(name) + 1] if name in before else initial[row]
        assert moved[row] == expected
    assert moved[0] == table[0]


def test_tuned_text_weights_are_carried_over(tmp_path: Path) -> None:
    text = TextSettings(lora_rank=2, max_tokens=16)
    settings = PLAIN.model_copy(update={"text": text})
    model = trained(settings)
    start = WarmStart.read(export_bundle(model, tmp_path, BundleNote(tiny.START)), settings)
    again = trained(settings.model_copy(update={"learning_rate": 1e-12}), warm=start)
    tuned = [name for name in start.weights if "lora" in name]
    assert tuned
    for name in tuned:
        np.testing.assert_allclose(weights_of(again)[name], start.weights[name], atol=1e-6)


def retuned(**changes: Any) -> Callable[[Path], TrainingSettings]:
    return lambda path: SETTINGS.model_copy(update=changes)


def damaged(path: Path) -> TrainingSettings:
    content = bytearray((path / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (path / WEIGHTS).write_bytes(content)
    return SETTINGS


def without_weights(path: Path) -> TrainingSettings:
    """As it was written before bundles held weights."""
    (path / WEIGHTS).unlink()
    manifest = read_manifest(path)
    files = {name: entry for name, entry in manifest.files.items() if name != WEIGHTS}
    document = manifest.model_copy(update={"files": files}).model_dump_json()
    (path / MANIFEST).write_text(document)
    return SETTINGS


def pickled(path: Path) -> TrainingSettings:
    """Not what a bundle holds, though its checksum is right."""
    (path / WEIGHTS).write_bytes(b"\x80\x04\x95" + bytes(64))
    manifest = read_manifest(path)
    files = {**manifest.files, WEIGHTS: file_entry(path / WEIGHTS)}
    document = manifest.model_copy(update={"files": files}).model_dump_json()
    (path / MANIFEST).write_text(document)
    return SETTINGS


def reweighed(
    name: str, change: Callable[[np.ndarray], np.ndarray | None]
) -> Callable[[Path], TrainingSettings]:
    """As another version of this program writes it, whose models have other weights."""

    def rewrite(path: Path) -> TrainingSettings:
        weights = load_file(path / WEIGHTS)
        changed = change(weights.pop(f"two_tower/{name}"))
        save_file(
            weights if changed is None else {**weights, f"two_tower/{name}": changed},
            path / WEIGHTS,
        )
        manifest = read_manifest(path)
        files = {**manifest.files, WEIGHTS: file_entry(path / WEIGHTS)}
        document = manifest.model_copy(update={"files": files}).model_dump_json()
        (path / MANIFEST).write_text(document)
        return SETTINGS

    return rewrite


def widened(weight: np.ndarray) -> np.ndarray:
    return np.concatenate([weight, weight], axis=-1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (retuned(dimension=32), "dimension is 32 now, and .* has 16"),
        (retuned(horizon_days=7.0), "horizon_days is 7.0 now"),
        (retuned(text=TextSettings(max_tokens=32)), "another text model"),
        (retuned(text=TextSettings(max_tokens=16, lora_rank=4)), "text.lora_rank is 4 now"),
        (damaged, "towers.safetensors.*SHA-256"),
        (pickled, "cannot be read"),
        (without_weights, "holds no weights"),
        (reweighed("query_tower/age", lambda _: None), "has no weight .*query_tower/age"),
        (reweighed("query_tower/age", widened), r"query_tower/age.*\(24,\).*Received: \(48,\)"),
        (reweighed("candidate_tower/id", widened), r"candidate_tower/id.*16\).*, 32\)"),
        (reweighed("candidate_tower/id", lambda table: table[1:]), "candidate_tower/id.*shape"),
    ],
)
def test_what_does_not_fit_is_a_cold_start_with_a_reason(
    published: Path, tmp_path: Path, change: Callable[[Path], TrainingSettings], reason: str
) -> None:
    path = Path(shutil.copytree(published, tmp_path / published.name))
    settings = change(path)
    with pytest.raises(ColdStartError, match=reason):
        WarmStart.read(path, settings)
    start = start_from(path, settings)
    assert start.warm is None
    assert str(start).startswith("cold start: ")


def test_how_it_is_trained_changes_nothing_about_what_fits(published: Path) -> None:
    ranking = RankerSettings(ease_days=9.0, slices=1, event_type_weights={"view": 0.0})
    changed = {"epochs": 7, "learning_rate": 1.0, "seed": 4, "ranking": ranking}
    settings = SETTINGS.model_copy(update=changed)
    start = start_from(published, settings)
    assert str(start) == f"warm start from {published.name}"
    update = {"warm_start": WarmStartSettings(epochs=2, learning_rate=0.5)}
    assert start.settings(settings.model_copy(update=update)).epochs == 2
    assert Start(None, "no").settings(settings).epochs == 7


def test_a_weight_that_is_missing_or_of_another_shape_is_refused(
    model: TrainedModel, published: Path
) -> None:
    start = WarmStart.read(published, SETTINGS)
    path = "two_tower/query_tower/age"
    types = model.interactions.event_types
    other = {**start.weights, path: np.zeros(3, np.float32)}
    with pytest.raises(ColdStartError, match=r"query_tower/age.*\(24,\).*Received: \(3,\)"):
        carry_over(replace(start, weights=other), model.two_tower, types)
    del other[path]
    with pytest.raises(ColdStartError, match=r"no weight .*query_tower/age"):
        carry_over(replace(start, weights=other), model.two_tower, types)


def test_what_serves_is_gone_on_from_where_enough_have_acted_since(published: Path) -> None:
    update = {"warm_start": WarmStartSettings(min_users=10), "holdout_share": 0.5}
    settings = SETTINGS.model_copy(update=update)
    bundles, columns = published.parent, tiny.tiny_interactions()
    assert "no bundle serves" in choose_start(bundles / "none", settings, columns).reason
    set_current(bundles, published.name)
    # The bundle has seen everything: nothing is left to judge it by.
    nobody = "0 known users acted on known items in"
    assert nobody in choose_start(bundles, settings, columns).reason
    later = replace(columns, timestamp=columns.timestamp + 6 * 3_600_000_000)
    assert choose_start(bundles, settings, later).version == published.name
    # All came back, to what is new: of that nobody can be asked.
    new = [Item(item_id=f"new-{each.item_id}") for each in columns.items]
    is_since = later.timestamp > columns.timestamp.max()
    elsewhere = replace(
        later, items=[*columns.items, *new], item=later.item + len(new) * is_since.astype(np.int32)
    )
    assert nobody in choose_start(bundles, settings, elsewhere).reason
    unjudged = settings.model_copy(update={"holdout_share": 0.0})
    assert choose_start(bundles, unjudged, columns).version == published.name
    cold = settings.model_copy(update={"warm_start": WarmStartSettings(enabled=False)})
    assert "not enabled" in choose_start(bundles, cold, later).reason


def test_checkpoints_of_another_catalogue_or_start_are_not_gone_on_from(
    published: Path, tmp_path: Path
) -> None:
    start = WarmStart.read(published, SETTINGS)
    trained(PLAIN, checkpoints=tmp_path)
    assert trained(PLAIN, checkpoints=tmp_path).losses == ()
    assert len(trained(PLAIN, warm=start, checkpoints=tmp_path).losses) == 1
    more = [*tiny.tiny_items(), Item(item_id="new", title="lamp 3")]
    grown = replace(tiny.tiny_interactions(), items=more)
    assert len(trained(PLAIN, grown, checkpoints=tmp_path).losses) == 1


def test_only_events_since_a_moment_are_asked_for() -> None:
    columns = tiny.tiny_interactions()
    since = tiny.START + timedelta(hours=9)
    whole, newest = make_windows(columns, SETTINGS), make_windows(columns, SETTINGS, since)
    asked = columns.timestamp[newest.label_start]
    assert (asked >= since.timestamp() * 1e6).all()
    # Those events all, and with the histories that they had.
    everything = columns.timestamp[whole.label_start] >= since.timestamp() * 1e6
    np.testing.assert_array_equal(newest.cut, whole.cut[everything])
    assert (columns.timestamp[newest.start] == tiny.START.timestamp() * 1e6).all()
