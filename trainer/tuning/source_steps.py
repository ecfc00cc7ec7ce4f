"""Searches which sources are on: the steps tried before sampling, and the final choice."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serving.sources.two_tower import TwoTowerSource
from trainer.tuning.search import Tried, gain_interval
from trainer.tuning.space import BUY_AGAIN, SOURCES_ON, Space, Subset, stored, value_of, with_values
from trainer.tuning.tuned_settings import TunedSettings


@dataclass(frozen=True, slots=True)
class SourceSteps:
    """Steps away from the present settings, and back where no difference can be told.

    speaking: the sources that can propose anything. The two-tower is never switched.
    """

    present: TunedSettings
    speaking: Sequence[str]

    @property
    def space(self) -> Space:
        """What is searched."""
        return {SOURCES_ON: self._sources, **BUY_AGAIN}

    def next(
        self, results: Sequence[Tried], ended: Sequence[TunedSettings]
    ) -> TunedSettings | None:
        """Return the first step that has not been tried yet; None lets a sampler propose.

        First each source in turn is switched; then all those by which the choosing users gained;
        then each part of the smallest change that is as good as the best is taken back.

        results: what was tried to the end, the best first.
        """
        for step in self._steps(results):
            if all(self.distance(step, each) for each in ended):
                return step
        return None

    def settled(self, results: Sequence[Tried]) -> Tried | None:
        """Return what to go on with: the present settings, unless a change is beyond noise.

        That change is the smallest one that is as good as the best for the choosing users, if the
        confirming users tell it from the present settings. None where these were not tried.

        results: what was tried to the end, the best first.
        """
        present, least = self._present_and_least(results)
        if present is None or least is None:
            return None
        _, low, _ = least.gain(present, self._seed)
        return least if low > 0 else present

    def distance(self, one: TunedSettings, other: TunedSettings) -> int:
        """Return in how many values they differ; each source counts as one value."""
        own, others = (stored(each, self.space) for each in (one, other))
        return sum(own[name] != others[name] for name in own)

    @property
    def _seed(self) -> int:
        return self.present.training.seed

    @property
    def _sources(self) -> Subset:
        searched = (each for each in self.speaking if each != TwoTowerSource.name)
        return Subset(tuple(searched)).including(self.present.serving.ranking.sources)

    def _steps(self, results: Sequence[Tried]) -> Iterator[TunedSettings]:
        switched = self._switched(self.present)
        yield from switched
        present, least = self._present_and_least(results)
        if present is None or least is None:
            return
        on = {*self.present.serving.ranking.sources}
        together = set(on)
        for tried in results:
            # Compared as they are stored: what was tried was read from there, and is rounded.
            is_switch = any(not self.distance(tried.settings, each) for each in switched)
            if tried.value > present.value and is_switch:
                together ^= on ^ {*tried.settings.serving.ranking.sources}
        yield with_values(self.present, {SOURCES_ON: self._sources.ordered(together)})
        back = {name: value_of(self.present, name) for name in BUY_AGAIN}
        for step in (*self._switched(least.settings), with_values(least.settings, back)):
            if self.distance(step, self.present) < self.distance(least.settings, self.present):
                yield step

    def _switched(self, settings: TunedSettings) -> list[TunedSettings]:
        """Return the settings with each source in turn switched."""
        toggled = self._sources.toggled(settings.serving.ranking.sources)
        return [with_values(settings, {SOURCES_ON: each}) for each in toggled]

    def _present_and_least(self, results: Sequence[Tried]) -> tuple[Tried | None, Tried | None]:
        """Return the present settings, and the smallest change that is as good as the best.

        As good as the best is what the choosing users do not tell from it: the one-standard-error
        rule of Breiman et al. (1984), by the 95 % interval.
        """
        present = next((tried for tried in results if tried.number == 0), None)
        if present is None:
            return None, None
        better = [tried for tried in results if tried.value > present.value]
        best = results[0].answers.choosing
        for tried in sorted(better, key=lambda each: self.distance(each.settings, self.present)):
            _, low, _ = gain_interval(best, tried.answers.choosing, self._seed)
            _, gained, _ = gain_interval(
                tried.answers.choosing, present.answers.choosing, self._seed
            )
            if low <= 0 < gained:
                return present, tried
        return present, present
