"""A server that tests have started, and end as servers end."""

import os
import signal
import subprocess

STOP_SECONDS = 30.0


class ServerProcess:
    """What is common to brokers and stores. `start` of each sets `_process`."""

    _process: subprocess.Popen[bytes] | None = None

    def kill(self) -> None:
        """End the server as kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def freeze(self) -> None:
        """Let the server answer nothing, though it takes connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            # Until all its threads are stopped, one of them may answer what comes after this.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """End a `freeze`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
