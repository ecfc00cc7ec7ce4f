"""Who is told how far a refresh, an evaluation or a search is."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from trainer.train import Progress


@dataclass(frozen=True, slots=True)
class Listener:
    """Hears how far the work is.

    stage: a stage begins, of this title. progress: so many of so many of its parts are done.
    step: how far the training is, where that is the stage.
    """

    stage: Callable[[str], None] = lambda title: None
    progress: Callable[[int, int], None] = lambda done, total: None
    step: Callable[[Progress], None] = lambda progress: None

    def also(self, stage: Callable[[str], None]) -> "Listener":
        """Return a listener that tells `stage` of stages too."""

        def both(title: str) -> None:
            self.stage(title)
            stage(title)

        return replace(self, stage=both)
