"""What most people acted on lately: an answer for whoever nothing is known of."""

from serving.candidates import Candidates
from serving.settings import ServingSettings
from serving.sources.candidate_source import Context
from serving.sources.trending import Span, TrendingSource


class PopularSource:
    """Items by exponentially decayed count of weighted events, as in `TrendingSource`.

    Over `popular_window`, which is longer than that of what trends: whoever is asked for
    something new wants what is new, and a stranger what most people like.
    """

    name = "popular"

    def __init__(self, trending: TrendingSource, settings: ServingSettings) -> None:
        self._trending = trending
        self._span = Span(settings.popular_window)

    def propose(self, context: Context, count: int) -> Candidates:
        """Return up to `count` of the allowed rows by what they count for now."""
        return self._trending.within(self._span, context, count)
