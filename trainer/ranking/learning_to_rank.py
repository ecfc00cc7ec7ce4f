"""Learning to rank what all sources propose: the ranker, and the fusion beside it."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
import numpy.typing as npt
from scipy import sparse

from serving.ranking.calibrated_fusion import CalibratedFusion
from trainer.import_keras import keras
from trainer.ranking.calibration import calibrated_fusion
from trainer.ranking.examples import Examples, examples_of, future_labels, requests_of
from trainer.ranking.fitted_tables import FittedTables
from trainer.ranking.objectives import objectives_of
from trainer.ranking.past_shop import PastShop, ranking_of
from trainer.ranking.ranker import train_ranker
from trainer.ranking.service_settings import ServiceSettings
from trainer.ranking.settings import RankerSettings
from trainer.ranking.trial import ranks_better_than_fusion
from trainer.tasks import Split

Floats = npt.NDArray[np.float32]

HIDING = 0.5
"""The share of users who ask with `exclude_seen`, where a return to an item is no answer.

Otherwise those who have acted on much would be proposed little that is new. The other users ask
openly, so that the ranker learns to put what was seen behind the rest.
"""

TRIED_BELOW = 400
"""With fewer requests of the newest slice a ranker is tried before it is kept, see `trial`."""


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
    """What was learned of how to order lists.

    ranker: None where there was too little to learn from, or the fusion ordered better. fusion:
    None where nothing could be learned of it. halves: empty, unless the users by whom the result
    is judged had to teach the fusion too. Then each half of the users, int64 indices into the past,
    with the fusion that this half taught: the other half is to be judged by it. no_ranker: why
    there is no ranker, for people; empty where there is one, or none is asked for.
    """

    ranker: keras.Model | None = None
    fusion: CalibratedFusion | None = None
    halves: Sequence[tuple[npt.NDArray[np.int64], CalibratedFusion | None]] = ()
    no_ranker: str = ""


def learn_to_rank(
    splits: Iterable[Split],
    newest: Newest,
    tables: FittedTables,
    settings: RankerSettings,
    service: ServiceSettings,
    *,
    seed: int = 0,
) -> Learned:
    """Learn a ranker from the first `slices` of the splits, the newest first, and a fusion.

    In each slice, tables, signals and statistics are of its past, and the labels of its future.

    The two-tower, which is trained once, has a say in the newest slice alone: in the others it
    says 0 of everything, as where it is switched off. So no ranker is trained where fewer than
    `min_users` requests of the newest slice tell anything: it would have learned to ignore the
    two-tower. With fewer than `TRIED_BELOW` it must also rank better than the fusion.

    The fusion is calibrated on the newest slice alone. The users by whom the result is judged do
    not teach it. Where too few others are left, everybody teaches it, in two halves, so that each
    half can be judged by the fusion that the other has taught.

    Sources that are off propose nothing and say 0, as when they are served. Should one be switched
    on later, a ranker that has never heard it leaves it out of its scores.
    """
    random = np.random.default_rng(seed)
    slices = islice(splits, max(settings.slices, 1))
    split = next(slices, None)
    if split is None:
        return Learned()
    types = {*split.past.event_types, *split.future["event_type"].unique()}
    objectives = objectives_of(types, settings.event_type_weights)
    slice_ = _Slice.of(split, tables, settings, objectives, service, random, newest)
    judged = np.array([user_id in newest.judged for user_id in split.past.user_ids], np.bool_)
    users = slice_.users[~judged[slice_.users]]
    if len(users) < settings.min_users:
        why = (
            f"{len(slice_.users)} users could be asked about the newest slice, and "
            f"{2 * settings.min_users} are needed: half of them judge, and "
            f"training.ranking.min_users asks for {settings.min_users} others. A larger "
            "training.holdout_share may ask more."
        )
        return replace(_cross_fitted(slice_), no_ranker=no_ranker(settings, why))
    requests = slice_.requests(users)
    # A trial is by all candidates, of which the ranker learns from some.
    few = list(islice(requests, TRIED_BELOW))
    lessons = [slice_.examples(chain(few, requests), len(users))]
    tried = Examples.joined(few) if len(few) < TRIED_BELOW else None
    del slice_, requests, few  # The shop of a long past is large, and those of the others come.
    fusion = calibrated_fusion(lessons[0])
    num_requests = lessons[0].num_requests
    # A trial takes two: one to learn from, and one to be asked.
    if not settings.slices or num_requests < max(2, settings.min_users):
        why = (
            f"of {len(users)} users whom the newest slice has to teach it, {num_requests} were "
            f"proposed what they acted on, and training.ranking.min_users asks for "
            f"{settings.min_users}."
        )
        return Learned(fusion=fusion, no_ranker=no_ranker(settings, why))
    for split in slices:
        older = _Slice.of(split, tables, settings, objectives, service, random)
        lessons.append(older.examples(older.requests(older.users), len(older.users)))
    if tried is not None and not ranks_better_than_fusion(
        lessons[0], tried, lessons[1:], settings, seed, service.serving.ranking
    ):
        why = f"it learned from {num_requests} requests, and ranked no better in a trial."
        return Learned(fusion=fusion, no_ranker=no_ranker(settings, why))
    return Learned(train_ranker(Examples.joined(lessons), settings, seed), fusion)


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """A shop before a slice of time, and what its users did in it.

    labels: of every user, as `future_labels` of the objectives. queries, hiding: as `requests_of`
    takes them.
    """

    shop: PastShop
    labels: sparse.csr_array
    objectives: Mapping[str, float]
    queries: Floats | None
    hiding: float
    settings: RankerSettings
    random: np.random.Generator

    @classmethod
    def of(
        cls,
        split: Split,
        tables: FittedTables,
        settings: RankerSettings,
        objectives: Mapping[str, float],
        service: ServiceSettings,
        random: np.random.Generator,
        newest: Newest | None = None,
    ) -> "_Slice":
        """Return the slice of a split; without `newest` the two-tower has no say in it."""
        shop = PastShop(
            split.past,
            ranking_of(tables.of(split.past, settings)),
            newest.candidates if newest else None,
            service,
            moments=split.moments,
        )
        return cls(
            shop,
            future_labels(split.past, split.future, settings, objectives),
            objectives,
            newest.queries if newest else None,
            HIDING if split.asks_for_new_alone else 0.0,
            settings,
            random,
        )

    @property
    def users(self) -> npt.NDArray[np.int64]:
        """Those who did anything in the slice, ascending."""
        return np.flatnonzero(np.diff(self.labels.indptr))

    def requests(self, users: npt.NDArray[np.int64]) -> Iterator[Examples]:
        """Yield all candidates of the requests of at most `users_per_slice` of these users."""
        most = self.settings.users_per_slice
        if len(users) > most:
            users = self.random.choice(users, most, replace=False)
        return requests_of(
            self.shop,
            self.labels,
            users,
            self.queries,
            self.random,
            self.hiding,
            self.objectives,
        )

    def examples(
        self, requests: Iterable[Examples], num_users: int, negatives: int | None = None
    ) -> Examples:
        """Return the examples of `requests` of so many users.

        negatives: as `examples_of` takes it; default: as set.
        """
        settings = self.settings
        most = settings.negatives if negatives is None else negatives
        num_users = min(num_users, settings.users_per_slice)
        return examples_of(requests, most, num_users, self.random)


def no_ranker(settings: RankerSettings, reason: str) -> str:
    """Return, for people, that no ranker was trained and why; empty where none is asked for."""
    return (
        f"no ranker was trained, the fusion orders the lists: {reason}" if settings.slices else ""
    )


def _cross_fitted(slice_: _Slice) -> Learned:
    """Return the fusion that all users teach, and those of each half."""
    halves = np.array_split(slice_.random.permutation(slice_.users), 2)
    # One negative a request is enough: of the others the fusion needs only their part in the
    # softmax, which `Opinions` keeps.
    parts = [slice_.examples(slice_.requests(half), len(half), negatives=1) for half in halves]
    taught = [calibrated_fusion(part) for part in parts]
    fusion = calibrated_fusion(Examples.joined(parts))
    return Learned(None, fusion, list(zip(halves, taught, strict=True)))
