"""Checks for drift now and then, and begins a refresh where the settings ask for one."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from feature_repo.shop_file import ShopFileError
from riverrun.scheduling import log_end, riverrun_command, run_politely
from riverrun.settings import Settings
from serving.background import BackgroundThread
from trainer.refresh.drift import signals_of
from trainer.refresh.runs_file import RunsFile

DRIFTED = 4
"""The exit code of `riverrun drift` where a signal is above its threshold."""


class DriftWatcher(BackgroundThread):
    """Runs `riverrun drift` every `check_hours`, and a refresh where events have drifted.

    Both run in processes of their own.

    settings: of the shop. look, renew: what to run; default: `riverrun drift` and `refresh`.
    """

    def __init__(
        self,
        settings: Settings,
        settings_file: Path | None = None,
        *,
        look: Sequence[str] | None = None,
        renew: Sequence[str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__("drift-watcher")
        self._settings = settings.refresh.drift
        self._look = look or riverrun_command("drift", settings.home, settings_file)
        self._renew = renew or riverrun_command("refresh", settings.home, settings_file)
        self._runs = RunsFile(settings.bundles)
        self._clock = clock
        self._warned: tuple[set[str], list[str]] | None = None
        self._logger = structlog.get_logger(__name__)

    def start(self) -> None:
        """Begin to look, unless `check_hours` is 0."""
        if self._settings.check_hours > 0:
            super().start()

    def check(self) -> int | None:
        """Look once; return the exit code of the refresh that it led to, or None."""
        code = run_politely(self._look, self._stop)
        if self._stop.is_set():
            return None  # The stop may have ended the look, which says nothing.
        if code != DRIFTED:
            if code:
                self._logger.error("drift_not_measured", code=code)
            else:
                self._warned = None
            return None
        pause, now = timedelta(hours=self._settings.pause_hours), self._clock()
        if not self._settings.refresh:
            self._say("off")
            return None
        if self._runs.begun_since(now - pause, now):
            self._say("paused")
            return None
        self._say("begins")
        renewed = run_politely(self._renew, self._stop)
        log_end(renewed, self._stop)
        return renewed

    def _say(self, refresh: str) -> None:
        """Warn once of the same signals beyond their thresholds, of the same bundle."""
        signals = self._runs.drift()
        beyond = {each.name for each in signals_of(signals, self._settings) if each.drifted}
        now = beyond, self._runs.promoted()[:1]
        say = self._logger.info if now == self._warned else self._logger.warning
        say("drifted", signals=signals, refresh=refresh)
        self._warned = now

    def _run(self) -> None:
        while not self._stop.wait(self._settings.check_hours * 3600):
            try:
                self.check()
            except (OSError, ShopFileError) as error:  # The table of runs may be locked.
                self._logger.error("drift_not_measured", reason=str(error))
