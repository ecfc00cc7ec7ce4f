"""A stop is heard whatever it interrupts."""

import subprocess
import sys

PROGRAM = """
import signal
from riverrun.cli.signals import stopped_by_signal

stopped = stopped_by_signal()
# What waits for the stop, and what sets it, hold this lock for moments.
with stopped._cond:
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
print(stopped.wait(30))
"""


def test_a_signal_that_interrupts_the_wait_for_it_stops_all_the_same() -> None:
    """In the thread that waits it would otherwise wait for itself, and nothing would ever end."""
    command = [sys.executable, "-c", PROGRAM]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert said == "True\n"
