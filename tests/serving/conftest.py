"""A shop whose lists come from the two-tower, over an exact and an approximate index."""

from collections.abc import Iterator

import pytest

from serving.catalogue import Catalogue
from serving.live_model import LiveModel, ModelHolder
from serving.reload import open_current
from serving.scann_index import ScannIndex
from tests.support.tiny_bundle import build_tiny_bundle, tiny_items
from tests.support.tiny_lists import ITEMS, SETTINGS
from tests.support.tiny_recommender import Shop


@pytest.fixture(scope="session", params=["exact", "scann"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ModelHolder, Catalogue]:
    folder = tmp_path_factory.mktemp("bundles")
    build_tiny_bundle(folder, list(ITEMS.values()))
    catalogue = Catalogue()
    holder = open_current(folder, catalogue, SETTINGS)
    if request.param == "scann":
        model = holder.current
        index = ScannIndex(model.table, tree_from=200)
        holder.swap(LiveModel(model.space, model.encoder, model.table, index))
    # Every eleventh item is sold out.
    gone = [i.model_copy(update={"available": False}) for i in tiny_items(600)[::11]]
    catalogue.upsert(gone)
    return holder, catalogue


@pytest.fixture
def shop(opened: tuple[ModelHolder, Catalogue]) -> Iterator[Shop]:
    holder, catalogue = opened
    yield Shop(holder, catalogue, SETTINGS)
    catalogue.upsert([item for item in ITEMS.values() if item.item_id not in catalogue])
