"""A ranking part is read as it was written, or refused by the name of the file and the reason."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from serving.bundle import Bundle, BundleError, RankingPart
from serving.bundle_loading import load_bundle
from serving.item_rows import ItemRows
from serving.ranking.bundle_files import RankingData, read_ranking
from serving.ranking.calibrated_fusion import CalibratedFusion
from serving.ranking.feature_names import feature_names
from serving.ranking.ranker import Ranker
from serving.signals.item_signals import SIGNALS
from serving.signatures import RANK
from serving.source_names import SOURCES
from tests.support.tiny_bundle import (
    build_tiny_bundle,
    tiny_items,
    tiny_rank_weights,
    tiny_ranker_layer,
    tiny_ranking,
)

NUM_ITEMS = 12
ITEMS = tiny_items(NUM_ITEMS)
DATA = tiny_ranking(NUM_ITEMS)
# One whose histories fade by their order too.
FADING = replace(DATA.tables["transitions"], events=5.0)
DATA = replace(
    DATA,
    tables={**DATA.tables, "transitions": FADING},
    taking=("purchase", "rent"),
    weightless=("hide",),
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles")
    return load_bundle(build_tiny_bundle(folder, ITEMS, ranking=DATA))


def test_what_was_written_is_read(published: Bundle) -> None:
    # The catalogue's rows are others than the bundle's.
    rows = ItemRows(["new", *(item.item_id for item in reversed(ITEMS))])
    ranking = read_ranking(published, rows)
    assert ranking is not None
    places = rows.rows_of(published.candidate_ids)
    np.testing.assert_array_equal(ranking.signals.of_rows(places), DATA.signals)
    assert (ranking.taking, ranking.weightless) == (DATA.taking, DATA.weightless)
    assert ranking.neighbours.keys() == DATA.tables.keys()
    for name, table in DATA.tables.items():
        read = ranking.neighbours[name]
        assert (read.days, read.events) == (table.days, table.events)
        for item, row in enumerate(places.tolist()):
            entries = slice(*table.starts[item : item + 2])
            expected = np.zeros(NUM_ITEMS, np.float32)
            expected[table.neighbours[entries]] = table.weights[entries]
            found = read.scores(np.array([row]), np.ones(1, np.float32))
            np.testing.assert_array_equal(found.of(places), expected)
    assert ranking.ranker is not None
    assert ranking.ranker.sources == SOURCES
    features = np.random.default_rng(0).random((5, len(feature_names(SOURCES)))).astype(np.float32)
    np.testing.assert_allclose(
        ranking.ranker.score(features), features @ tiny_rank_weights(), rtol=1e-5
    )


def test_a_ranker_of_several_objectives_is_read_as_it_was_written(tmp_path: Path) -> None:
    worths = {"view": 1.0, "purchase": 5.0}
    data = replace(DATA, objectives=worths)
    bundle = load_bundle(build_tiny_bundle(tmp_path / "1", ITEMS, ranking=data))
    ranking = read_ranking(bundle, ItemRows(bundle.candidate_ids))
    assert ranking is not None
    assert ranking.ranker is not None
    assert [*ranking.ranker.objectives.items()] == [*worths.items()]
    features = np.random.default_rng(2).normal(size=(5, NUM_FEATURES)).astype(np.float32)
    expected = Ranker(SOURCES, (tiny_ranker_layer(units=2),), worths).score(features)
    np.testing.assert_array_equal(ranking.ranker.score(features), expected)


def test_a_bundle_may_have_no_ranker_or_nothing_to_rank_by(tmp_path: Path) -> None:
    tables_alone = tiny_ranking(NUM_ITEMS, has_ranker=False)
    bundle = load_bundle(build_tiny_bundle(tmp_path / "1", ITEMS, ranking=tables_alone))
    ranking = read_ranking(bundle, ItemRows(bundle.candidate_ids))
    assert ranking is not None
    assert ranking.ranker is None
    assert ranking.neighbours.keys() == DATA.tables.keys()
    bundle = load_bundle(build_tiny_bundle(tmp_path / "2", ITEMS))
    assert read_ranking(bundle, ItemRows(bundle.candidate_ids)) is None


def test_what_says_nothing_is_left_out_so_that_earlier_releases_read_the_rest() -> None:
    part = replace(DATA, objectives={"purchase": 5.0}).part
    assert "objectives" not in part.model_dump()
    assert part.model_dump()["events"] == {"transitions": 5.0}
    by_time = part.model_copy(update={"events": {}, "taking": (), "weightless": ()})
    assert not {"events", "taking", "weightless"} & by_time.model_dump().keys()
    assert RankingPart.model_validate_json(by_time.model_dump_json()) == by_time


def test_what_is_learned_of_the_fusion_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert DATA.fusion is None
    learned = CalibratedFusion(weights={"ease": 0.345, "text": 0.2}, temperature=1.4)
    for number, fusion in enumerate((learned, CalibratedFusion(weights={}), None)):
        data = replace(DATA, fusion=fusion)
        bundle = load_bundle(build_tiny_bundle(tmp_path / str(number), ITEMS, ranking=data))
        ranking = read_ranking(bundle, ItemRows(bundle.candidate_ids))
        assert ranking is not None
        assert ranking.fusion == fusion
        file = bundle.path / "ranking" / "fusion.json"
        assert file.exists() == (fusion is not None)
    file = tmp_path / "0" / bundle.path.name / "ranking" / "fusion.json"
    file.write_text(file.read_text().replace("0.345", "0.435"))
    with pytest.raises(BundleError, match=r"must have .* bytes and SHA-256"):
        load_bundle(tmp_path / "0" / bundle.path.name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ("null", "Received: None."),
        ('{"temperature": 2.0}', "`weights`: is missing."),
        ('{"weights": {"ease": 1.5}}', "`weights.ease`: Input should be less than 1"),
        ('{"weights": {"luck": 0.5}}', "`weights.luck"),
        ('{"weights": {"two_tower": 0.5}}', "must not name `two_tower`"),
        ('{"weights": {"ease": 0.6, "text": 0.5}}', "must sum to less than 1. Received: 1.1."),
        ('{"weights": {}, "temperature": 0}', "`temperature`: Input should be greater than 0"),
        ('{"weights": {}, "luck": 1}', "`luck`: unknown key."),
    ],
)
def test_a_fusion_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    data = replace(DATA, fusion=CalibratedFusion(weights={"ease": 0.3}))
    bundle = load_bundle(build_tiny_bundle(tmp_path, ITEMS, ranking=data))
    file = bundle.path / "ranking" / "fusion.json"
    file.write_text(text)
    with pytest.raises(BundleError, match=re.escape(f"bundle file {file}: ")) as error:
        read_ranking(bundle, ItemRows(bundle.candidate_ids))
    assert message in str(error.value)


def test_a_ranker_that_the_model_lacks_is_named(tmp_path: Path) -> None:
    path = build_tiny_bundle(tmp_path, ITEMS, ranking=DATA, omit_signature=RANK)
    with pytest.raises(BundleError, match="has no signature `rank`"):
        load_bundle(path)


def test_a_ranker_that_reads_another_number_of_features_is_named(
    published: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = DATA.part.model_copy(update={"features": DATA.part.features[1:]})
    monkeypatch.setattr(RankingData, "part", fewer)
    path = build_tiny_bundle(tmp_path, ITEMS, ranking=DATA)
    number = len(fewer.features)
    with pytest.raises(BundleError, match=f"`rank` must read {number} columns. Received: "):
        load_bundle(path)


Change = Callable[[np.ndarray], np.ndarray]

WIDTH = len(SIGNALS)
WRONG: list[tuple[str, Change, str]] = [
    (
        "signals",
        lambda array: array[1:],
        f"must have shape [12, {WIDTH}]. Received: [11, {WIDTH}].",
    ),
    (
        "signals",
        lambda array: array[:, 1:],
        f"must have shape [12, {WIDTH}]. Received: [12, {WIDTH - 1}].",
    ),
    ("signals", lambda array: array.astype(np.float64), "must be one float32 array."),
    ("signals", lambda array: array * np.nan, "holds a value that is not finite."),
    ("ease/starts", lambda array: array[:-1], "must be 13 ascending numbers from 0."),
    ("ease/starts", lambda array: array + 1, "must be 13 ascending numbers from 0."),
    ("ease/starts", lambda array: array[::-1].copy(), "must be 13 ascending numbers from 0."),
    ("ease/neighbours", lambda array: array[1:], "must have shape [24]. Received: [23]."),
    ("text/weights", lambda array: array[1:], "must have shape [24]. Received: [23]."),
    ("text/weights", lambda array: array * np.inf, "holds a value that is not finite."),
    ("text/neighbours", lambda array: array + 1, "names a candidate that there is not."),
    ("text/neighbours", lambda array: array - 1, "names a candidate that there is not."),
]


@pytest.mark.parametrize(("name", "change", "message"), WRONG)
def test_an_array_that_does_not_fit_is_named(
    published: Bundle, tmp_path: Path, name: str, change: Change, message: str
) -> None:
    folder = tmp_path / "ranking"
    for source in published.path.glob("ranking/**/*.npy"):
        target = tmp_path / source.relative_to(published.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        array = np.load(source, allow_pickle=False)
        is_changed = target == folder / f"{name}.npy"
        np.save(target, change(array) if is_changed else array, allow_pickle=False)
    bundle = replace(published, path=tmp_path)
    expected = re.escape(f"bundle file {folder / name}.npy: {message}")
    with pytest.raises(BundleError, match=expected):
        read_ranking(bundle, ItemRows(bundle.candidate_ids))


Layers = dict[str, np.ndarray]

NUM_FEATURES = len(feature_names(SOURCES))
WRONG_LAYERS: list[tuple[Callable[[Layers], Layers], str]] = [
    (
        lambda layers: {**layers, "0.kernel": layers["0.kernel"][1:]},
        f"layer 0 must take {NUM_FEATURES} numbers.",
    ),
    (
        lambda layers: {**layers, "0.bias": np.zeros(2, np.float32)},
        f"layer 0 must take {NUM_FEATURES} numbers.",
    ),
    (
        lambda layers: {"0.kernel": layers["0.kernel"]},
        f"layer 0 must take {NUM_FEATURES} numbers.",
    ),
    (
        lambda layers: {
            "0.kernel": np.ones((NUM_FEATURES, 3), np.float32),
            "0.bias": np.ones(3, np.float32),
        },
        "must end in 1 numbers, one for each objective. Received: 3.",
    ),
    (
        lambda layers: {},
        f"must end in 1 numbers, one for each objective. Received: {NUM_FEATURES}.",
    ),
    (
        lambda layers: {**layers, "0.bias": layers["0.bias"].astype(np.float64)},
        "`0.bias` must be finite float32 numbers.",
    ),
    (
        lambda layers: {**layers, "0.kernel": layers["0.kernel"] * np.nan},
        "`0.kernel` must be finite float32 numbers.",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG_LAYERS)
def test_a_ranker_that_does_not_fit_is_named(
    published: Bundle, tmp_path: Path, change: Callable[[Layers], Layers], message: str
) -> None:
    folder = shutil.copytree(published.path / "ranking", tmp_path / "ranking")
    file = folder / "ranker.safetensors"
    save_file(change(load_file(file)), file)
    with pytest.raises(BundleError, match=re.escape(f"bundle file {file}: {message}")):
        read_ranking(replace(published, path=tmp_path), ItemRows(published.candidate_ids))


def test_a_ranker_that_cannot_be_read_is_named(published: Bundle, tmp_path: Path) -> None:
    folder = shutil.copytree(published.path / "ranking", tmp_path / "ranking")
    file = folder / "ranker.safetensors"
    for damage in (lambda: file.write_bytes(b"no tensors"), file.unlink):
        damage()
        with pytest.raises(BundleError, match=re.escape(f"bundle file {file}: cannot be read: ")):
            read_ranking(replace(published, path=tmp_path), ItemRows(published.candidate_ids))


@pytest.mark.parametrize("name", ["signals", "text/starts", "ease/weights"])
def test_an_array_that_is_missing_is_named(published: Bundle, tmp_path: Path, name: str) -> None:
    for source in published.path.glob("ranking/**/*.npy"):
        target = tmp_path / source.relative_to(published.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    (tmp_path / "ranking" / f"{name}.npy").unlink()
    bundle = replace(published, path=tmp_path)
    with pytest.raises(BundleError, match=re.escape(f"{name}.npy: is no array")):
        read_ranking(bundle, ItemRows(bundle.candidate_ids))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signals": ("popularity_decade",)}, "`ranking.signals` must be "),
        ({"signals": ()}, "`ranking.signals` must be "),
        ({"features": ("ease.score", "luck")}, "`ranking.features` must be "),
        # A source that there is no longer is one whose features there are no longer.
        ({"sources": ("ease", "astrology")}, "`ranking.features` must be "),
        ({"sources": ()}, r"`ranking.features` must be \[\]. Received: \['two_tower.score', "),
    ],
)
def test_numbers_of_another_meaning_are_refused(
    published: Bundle, changes: dict[str, object], message: str
) -> None:
    part = RankingPart.model_validate(DATA.part.model_dump() | changes)
    manifest = published.manifest.model_copy(update={"ranking": part})
    with pytest.raises(BundleError, match=f"manifest.json: {message}"):
        read_ranking(replace(published, manifest=manifest), ItemRows(published.candidate_ids))
