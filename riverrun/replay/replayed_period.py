"""The period that is replayed: of a public data set, or of a shop's own archive."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from feature_repo.archive import Archive
from riverrun.errors import UserError
from riverrun.importing import PresetData
from riverrun.protocols import EvaluationProtocol
from riverrun.readable_archive import readable
from riverrun.replay.questions import Period, split_period
from riverrun.replay.settings import ReplaySettings
from riverrun.settings import Settings
from trainer.interactions import happened_by
from trainer.settings import TrainingSettings


@dataclass(frozen=True)
class ReplayedPeriod:
    """What is replayed, and the settings of the model and of the shop."""

    period: Period
    training: TrainingSettings
    shop: ReplaySettings


def preset_period(
    protocol: EvaluationProtocol, data: PresetData, *, validation: bool
) -> ReplayedPeriod:
    """Return the period of a public data set that its protocol replays.

    validation: whether it is the one that settings may be chosen on.
    """
    period = protocol.held_out(validation=validation).period(data)
    service = protocol.service
    shop = ReplaySettings(serving=service.serving, length=service.history_length)
    return _answered_by_weight(period, protocol.settings, shop)


def shop_period(settings: Settings, days: int) -> ReplayedPeriod:
    """Return the newest `days` days of the archive, without events that are still to come.

    Raises `UserError` where nothing is before.
    """
    archive = Archive(settings.archive)
    with readable(archive):
        events = happened_by(archive.events.scan().collect(), datetime.now(UTC))
        items = archive.items()
    if events.is_empty():
        raise UserError(f"{settings.archive} holds no event: `riverrun import` brings them in.")
    newest: datetime = events.sort("timestamp").row(-1, named=True)["timestamp"]
    period = split_period(events, items, newest - timedelta(days=days))
    if period.past.is_empty():
        raise UserError(f"--days {days}: {settings.archive} holds nothing before them.")
    shop = ReplaySettings(settings.streaming, settings.serving, settings.history_length)
    return _answered_by_weight(period, settings.training, shop)


def _answered_by_weight(
    period: Period, training: TrainingSettings, shop: ReplaySettings
) -> ReplayedPeriod:
    """Return the period, in which what training gives no weight is no answer."""
    return ReplayedPeriod(replace(period, weightless=training.weightless), training, shop)
