"""What the steps of a refresh have found out, and what that holds for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter
from pydantic_core import to_json

from serving.ranking.calibrated_fusion import CalibratedFusion
from trainer.evaluate import EvaluationRow

if TYPE_CHECKING:  # It brings TensorFlow, which whoever reads notes has no use for.
    from trainer.start import Start


@dataclass(frozen=True, slots=True)
class Basis:
    """What must still be so for the notes to hold.

    settings: a hash of those that decide what a training makes of events, and how it is judged.
    current: the version that served as the refresh began. checkpoints: who owns their folder.
    """

    settings: str
    current: str | None
    checkpoints: str | None


@dataclass(frozen=True, slots=True)
class NotedStart:
    """What the training goes on from. version: None where it begins from nothing, for `reason`."""

    version: str | None
    reason: str

    @classmethod
    def of(cls, start: "Start") -> "NotedStart":
        """Return the note of a start."""
        return cls(start.version, start.reason)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was learned from what was held out: for how many epochs to train, and how to order.

    rows: how every scorer answered what was held out. has_ranker: whether a ranker was trained.
    fusion: None where nothing could be learned of it. no_ranker: why none was, for people.
    """

    epochs: int
    rows: tuple[EvaluationRow, ...]
    has_ranker: bool
    fusion: CalibratedFusion | None
    no_ranker: str = ""


@dataclass(frozen=True, slots=True)
class BundleChecks:
    """index_recall: the share of the true 10 best that the index finds, 0..1.

    latency_ms: of encoding one query, the median.
    """

    index_recall: float
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Notes:
    """All that is noted; None is what has not been found out yet.

    version: of the bundle. checks: what it was found to do, once it lay there. left_open: which
    gates were not asked, for people.
    """

    basis: Basis | None = None
    start: NotedStart | None = None
    choice: Choice | None = None
    version: str | None = None
    checks: BundleChecks | None = None
    left_open: str = ""

    @classmethod
    def from_json(cls, stored: str) -> "Notes":
        """Return notes as they were written.

        Raises `pydantic.ValidationError` where another version of this program has written them.
        """
        return _ADAPTER.validate_json(stored)

    def to_json(self) -> str:
        """Return them as they are written."""
        # Of a metric that is not a number too.
        return to_json(self, inf_nan_mode="constants").decode()


_ADAPTER = TypeAdapter(Notes)
