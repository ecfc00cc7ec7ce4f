"""Learning to rank what all sources propose: the ranker, and the fusion beside it."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
from scipy import sparse

from serving.ranking.calibrated_fusion import CalibratedFusion
from trainer.import_keras import keras
from trainer.ranking.calibration import calibrated_fusion
from trainer.ranking.examples import Examples, examples_of, future_labels
from trainer.ranking.fitted_tables import FittedTables
from trainer.ranking.past_shop import PastShop, ranking_of
from trainer.ranking.ranker import train_ranker
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.settings import RankerSettings
from trainer.ranking.trial import ranks_better_than_fusion
from trainer.tasks import Split

Floats = npt.NDArray[np.float32]

HIDING = 0.5
"""The share of users who ask with `exclude_seen`, where a return is no answer.

Who has acted on much is proposed little new otherwise. The others ask openly, so that the ranker
learns to put behind what was seen.
"""

TRIED_BELOW = 400
"""With fewer requests of the newest slice a ranker is tried first: to learn costs little then."""


@dataclass(frozen=True, slots=True, eq=False)
class Newest:
    """What is known of the newest split, whose future the two-tower has not seen.

    queries: float32 [num_users, dimension], candidates: float32 [num_items, dimension], the
    two-tower's, of the past's users and items; queries of users who do not act in the future are 0.
    judged: users by whom the result is judged, and from whom nothing of this split is learned.
    """

    queries: Floats
    candidates: Floats
    judged: Collection[str]


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What was learned of ordering lists.

    ranker: None where there was too little to learn from, or the fusion ordered better. fusion:
    None where nobody told anything of it. halves: where whoever is judged had to teach the fusion
    too, what each half of the users teaches: int64, users of the past, and the fusion.
    """

    ranker: keras.Model | None = None
    fusion: CalibratedFusion | None = None
    halves: Sequence[tuple[npt.NDArray[np.int64], CalibratedFusion | None]] = ()


def learn_to_rank(
    splits: Iterable[Split],
    newest: Newest,
    tables: FittedTables,
    settings: RankerSettings,
    service: ServiceSettings,
    *,
    seed: int = 0,
) -> Learned:
    """Learn to rank from the first `slices` of the splits, the newest first, and to fuse.

    In each, tables, signals and statistics are of its past, and the labels of its future. Only
    in the newest does the two-tower, which is trained once, have a say: in the others it says 0
    of everything, as where it is switched off. There is no ranker where fewer than `min_users`
    requests of the newest tell anything: one that has hardly heard the two-tower would not hear it.
    Where hardly more do, it must also rank better than the fusion that serves without it.

    That fusion is calibrated on the newest split alone. Whoever is judged teaches none of it,
    unless too few are left: then half of all teach the fusion by which the others are judged.

    Sources that are off propose nothing and say 0, as when they are served: what a ranker has never
    heard is left out of its score, should they be switched on later.
    """
    random = np.random.default_rng(seed)
    parts: list[Examples] = []
    fusion: CalibratedFusion | None = None
    for number, split in enumerate(islice(splits, max(settings.slices, 1))):
        past = split.past
        shop = PastShop(
            past,
            ranking_of(tables.of(past, settings)),
            newest.candidates if number == 0 else None,
            service,
            moments=split.moments,
        )
        queries = newest.queries if number == 0 else None
        labels = future_labels(past, split.future, settings)
        hiding = HIDING if split.asks_for_new_alone else 0.0
        asked = _Asked(shop, labels, queries, random, hiding)
        users = asked.users
        if number == 0:
            judged = [user_id in newest.judged for user_id in past.user_ids]
            users = users[~np.array(judged, dtype=np.bool_)[users]]
            if len(users) < settings.min_users:
                return _cross_fitted(asked, settings)
        parts.append(asked.examples(users, settings, settings.negatives))
        if number == 0:
            fusion = calibrated_fusion(parts[0])
            # A trial takes two: one to learn from, and one to be asked.
            if not settings.slices or parts[0].num_requests < max(2, settings.min_users):
                return Learned(fusion=fusion)
    if not parts:
        return Learned()
    if parts[0].num_requests < TRIED_BELOW and not ranks_better_than_fusion(
        parts[0], parts[1:], settings, seed, service.serving.ranking
    ):
        return Learned(fusion=fusion)
    return Learned(train_ranker(Examples.joined(parts), settings, seed), fusion)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A shop, and what came of whom. queries, hiding: as `examples_of` takes them."""

    shop: PastShop
    labels: sparse.csr_array
    queries: Floats | None
    random: np.random.Generator
    hiding: float

    @property
    def users(self) -> npt.NDArray[np.int64]:
        """Those of whom anything came, ascending."""
        return np.flatnonzero(np.diff(self.labels.indptr))

    def examples(
        self, users: npt.NDArray[np.int64], settings: RankerSettings, negatives: int
    ) -> Examples:
        """Return the examples of at most `users_per_slice` of these users."""
        if len(users) > settings.users_per_slice:
            users = self.random.choice(users, settings.users_per_slice, replace=False)
        return examples_of(
            self.shop, self.labels, users, self.queries, negatives, self.random, self.hiding
        )


def _cross_fitted(asked: _Asked, settings: RankerSettings) -> Learned:
    """Return the fusion that all users teach, and those of each half."""
    halves = np.array_split(asked.random.permutation(asked.users), 2)
    # Of what was not acted on no more is needed than its part in the softmax, which is kept.
    parts = [asked.examples(half, settings, negatives=1) for half in halves]
    taught = [calibrated_fusion(part) for part in parts]
    # A part of which nothing is known has no opinions.
    fusion = calibrated_fusion(Examples.joined([part for part in parts if part.num_requests]))
    return Learned(None, fusion, list(zip(halves, taught, strict=True)))
