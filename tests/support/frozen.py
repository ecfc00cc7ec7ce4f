"""Stopping a server that a test has started without ending it."""

import os
import signal
import subprocess


def freeze(process: subprocess.Popen[bytes]) -> None:
    """Return once `process`, a child of this one, answers nothing, though it takes connections."""
    process.send_signal(signal.SIGSTOP)
    # Until all its threads are stopped, one of them may answer what comes after this.
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


def thaw(process: subprocess.Popen[bytes]) -> None:
    """End a `freeze`."""
    process.send_signal(signal.SIGCONT)
