"""What each feature does to a candidate's score, by taking the feature away."""

import numpy as np
import numpy.typing as npt

from serving.item_rows import Rows
from serving.ranking import reasons
from serving.ranking.feature_names import feature_names
from serving.ranking.ranker import Ranker
from serving.requests import FeatureEffect

SHOWN = 5
"""How many features are named at most, the strongest first."""


def feature_effects(
    ranker: Ranker, features: npt.NDArray[np.float32], places: Rows
) -> list[list[FeatureEffect]]:
    """Return the strongest features of the candidates at `places`, by the size of their effect.

    features: float32 [n, num_features], of all candidates of the request. The effect of a feature
    is the candidate's score less its score with this one feature at the candidates' mean (removal
    as in Robnik-Sikonja and Kononenko, TKDE 2008; Covert, Lundberg and Lee, JMLR 2021). So a
    feature in which the candidates do not differ has none. In a linear ranker the effects add up
    to the score less that of the mean candidate; here features also act together, and each is
    taken away with the others as they are.
    """
    names, chosen = feature_names(ranker.sources), features[places]
    if not len(chosen):
        return []
    without = np.repeat(chosen[:, None, :], len(names), axis=1)
    diagonal = np.arange(len(names))
    without[:, diagonal, diagonal] = features.mean(axis=0)
    # One call: the candidates as they are, then each with each feature taken away.
    scores = ranker.score(np.concatenate([chosen, without.reshape(-1, len(names))]))
    as_is, changed = np.split(scores, [len(chosen)])
    effects = as_is[:, None] - changed.reshape(chosen.shape)
    strongest = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :SHOWN]
    return [
        [
            FeatureEffect(
                names[column],
                reasons.about(names[column]),
                float(values[column]),
                float(row[column]),
            )
            for column in order.tolist()
            if row[column]
        ]
        for order, values, row in zip(strongest, chosen, effects, strict=True)
    ]
