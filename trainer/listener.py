"""Hears how far a refresh, an evaluation or a search is."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from trainer.train import Progress


@dataclass(frozen=True, slots=True)
class Listener:
    """Hears how far the work is.

    stage: called with the title of a stage that begins. progress: called with how many of the
    stage's parts are done, and how many there are. step: called with how far the training is, in a
    stage that trains.
    """

    stage: Callable[[str], None] = lambda title: None
    progress: Callable[[int, int], None] = lambda done, total: None
    step: Callable[[Progress], None] = lambda progress: None

    def also(self, stage: Callable[[str], None]) -> "Listener":
        """Return a listener that calls `stage` too when a stage begins."""

        def both(title: str) -> None:
            self.stage(title)
            stage(title)

        return replace(self, stage=both)
