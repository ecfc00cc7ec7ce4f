"""A benchmark that is ended by its service manager stops what it has started."""

import signal
import subprocess
import sys

HOLDING = """
import time
from riverrun.cli.bench import app

@app.command()
def hold() -> None:
    try:
        print("started", flush=True)
        time.sleep(60)
    finally:
        print("stopped")

app(["hold"])
"""


def test_sigterm_unwinds_as_ctrl_c_does() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING], stdout=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stdout is not None
        assert bench.stdout.readline() == "started\n"
        bench.send_signal(signal.SIGTERM)
        assert bench.stdout.read() == "stopped\n"
    assert bench.returncode == 128 + signal.SIGTERM
