"""A bundle is judged by the lists it serves."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from feature_repo.schema import Item
from serving.bundle_loading import load_bundle
from serving.text_embedding_cache import TextEmbeddingCache
from tests.support import tiny_training as tiny
from trainer.bundle_scorer import BundleScorer
from trainer.export import BundleNote, export_bundle
from trainer.scorers import two_tower_scorer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("trained_step_by_step")]


def test_a_bundle_scores_as_the_model_it_was_made_of(tmp_path: Path) -> None:
    model = tiny.tiny_model(epochs=1)
    bundle = load_bundle(
        export_bundle(model, tmp_path, BundleNote(datetime(2026, 1, 2, tzinfo=UTC)))
    )
    users = np.array([3, 0, 7])
    expected = two_tower_scorer(model).score(users)
    scorer = BundleScorer(bundle, model.interactions, TextEmbeddingCache())
    np.testing.assert_allclose(scorer.score(users), expected, rtol=1e-4, atol=1e-5)

    # An item that came after the bundle is ranked too, and moves nobody else.
    newcomer = Item(item_id="new", title="lamp 3", price=2.0)
    later = replace(model.interactions, items=[*tiny.tiny_items(), newcomer])
    scores = BundleScorer(bundle, later, TextEmbeddingCache()).score(users)
    np.testing.assert_allclose(scores[:, :-1], expected, rtol=1e-4, atol=1e-5)
    assert np.isfinite(scores[:, -1]).all()
    assert scores[:, -1].any()
    with pytest.raises(ValueError, match="and 21 items"):
        two_tower_scorer(model, later)
