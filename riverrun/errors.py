"""What the command line says in one line, and ends with.

UserError         2, what a person can put right
RunFailedError    1, what may pass: run it again
"""


class UserError(Exception):
    """A bad command line, setting or file. Shown as one line; the process exits with code 2."""


class RunFailedError(Exception):
    """A run that failed though all it was given may be right, as where a GPU had no memory left.

    Shown as one line; the process exits with code 1.
    """
