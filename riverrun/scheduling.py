"""Runs `riverrun refresh` on a schedule, in a process of its own."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from croniter import croniter

from feature_repo.shop_file import ShopFileError
from riverrun.settings import Settings
from serving.background import BackgroundThread
from trainer.refresh.runs_file import RunsFile

LOOK_SECONDS = 5.0
NICENESS = 10
"""Low, so that requests go before training."""

STOP_SECONDS = 3.0
"""How long a process has for its end; `up` has 8.5 s, and first answers requests in flight."""


def riverrun_command(name: str, home: Path, settings_file: Path | None) -> list[str]:
    """Return the command line of `riverrun NAME` on a shop."""
    command = [sys.executable, "-m", "riverrun", name, "--home", str(home)]
    return command if settings_file is None else [*command, "--settings", str(settings_file)]


def run_politely(command: Sequence[str], stop: threading.Event) -> int:
    """Run a process at low priority until it ends or `stop` is set; return its exit code."""
    process = subprocess.Popen(command)
    # A process that runs at a lower priority already may not raise it.
    niceness = max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
    os.setpriority(os.PRIO_PROCESS, process.pid, niceness)
    while process.poll() is None:
        if stop.wait(0.2):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
    return process.wait()


def log_end(code: int, stop: threading.Event, **more: Any) -> None:
    """Log how a refresh ended; one that was killed, as for its memory, could not say so itself."""
    logger = structlog.get_logger(__name__)
    killed = code < 0 and not stop.is_set()
    (logger.error if killed else logger.info)("refresh_ended", code=code, **more)


class RefreshScheduler(BackgroundThread):
    """Starts a refresh at each time of `refresh.schedule`, one at a time.

    A refresh is a process of its own, so that its memory goes back to the system and its crash
    affects nothing else. Scheduled times that pass while one runs, or while the machine sleeps,
    count as one. If the clock goes back to before the last scheduled time, but no further than the
    one before it, no refresh is repeated. If it goes back further, it was far ahead before, and the
    schedule begins anew. `stop` also stops a running refresh; the next one resumes it.

    settings: of the shop, with a schedule. command: what to run; default: `riverrun refresh`.
    """

    def __init__(
        self,
        settings: Settings,
        settings_file: Path | None = None,
        *,
        command: Sequence[str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__("refresh-scheduler")
        self._schedule = settings.refresh.schedule
        self._command = command or riverrun_command("refresh", settings.home, settings_file)
        self._runs = RunsFile(settings.bundles)
        self._clock = clock
        self._due = self._after(clock())
        self._logger = structlog.get_logger(__name__)

    @property
    def due(self) -> datetime:
        """When the next refresh begins."""
        return self._due

    def run_if_due(self) -> int | None:
        """Run a refresh if its time has come; return its exit code, or None."""
        now = self._clock()
        if now < self._due:
            following = self._after(now)
            if self._after(following) < self._due:
                self._logger.warning("refresh_clock_went_back", due=following.isoformat())
                self._due = following
            return None
        # Of several schedulers of a shop, one refresh is enough.
        if self._runs.begun_since(self._due, now):
            self._logger.info("refresh_begun_by_another", due=self._due.isoformat())
            self._due = self._after(max(self._clock(), self._due))
            return None
        self._logger.info("refresh_due", due=self._due.isoformat())
        code = run_politely(self._command, self._stop)
        self._due = self._after(max(self._clock(), self._due))
        log_end(code, self._stop, next_due=self._due.isoformat())
        return code

    def _after(self, moment: datetime) -> datetime:
        following: datetime = croniter(self._schedule, moment).get_next(datetime)
        return following

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.run_if_due()
            except (OSError, ShopFileError) as error:  # The table of runs may be locked.
                self._logger.error("refresh_not_started", reason=str(error))
