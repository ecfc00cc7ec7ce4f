"""`riverrun` as a person runs it."""

import subprocess
import sys


def riverrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "riverrun", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
