"""Of a model's weights those must be finite that the learning rate can be lowered for."""

import numpy as np

from serving.ranking.feature_names import feature_names
from serving.source_names import SOURCES
from trainer.finite_weights import has_finite_weights
from trainer.ranking.ranker import blank_ranker
from trainer.ranking.settings import RankerSettings


def test_a_feature_that_is_no_number_is_not_the_learning_rates_fault() -> None:
    model = blank_ranker(RankerSettings())
    assert has_finite_weights(model)
    unknown = np.full(len(feature_names(SOURCES)), np.nan)
    model.get_layer("normalization").adapt_mean.assign(unknown)
    assert has_finite_weights(model)
    model.trainable_weights[-1].assign([np.inf])
    assert not has_finite_weights(model)
