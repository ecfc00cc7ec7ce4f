"""The contract that turns histories, items and texts into embeddings of one bundle."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from feature_repo.history import UserHistory
from feature_repo.schema import Item


class Encoder(Protocol):
    """One bundle's towers. Safe for use by many threads."""

    @property
    def bundle_version(self) -> str:
        """The vector space the embeddings lie in."""
        ...

    def encode_queries(
        self, histories: Sequence[UserHistory], query_texts: Sequence[str] | None = None
    ) -> npt.NDArray[np.float32]:
        """Return query embeddings, float32 [len(histories), dimension].

        Events on items that have no candidate embedding are left out. query_texts: what each user
        is searching for, "" for nothing; None where nobody is searching.
        """
        ...

    def encode_candidates(self, items: Sequence[Item], at: datetime) -> npt.NDArray[np.float32]:
        """Return candidate embeddings, float32 [len(items), dimension], of new items too."""
        ...

    def encode_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return text embeddings, float32 [len(texts), text_dimension], L2-normalised."""
        ...
