"""Errors that the command line shows as one line, and the exit codes that it ends with.

UserError         2, something that a person can correct
RunFailedError    1, something that may pass: run it again
"""

from errno import EACCES, EEXIST, EISDIR, ENOTDIR, EPERM, EROFS

NOT_TO_BE_USED = {EACCES, EPERM, EROFS, EEXIST, ENOTDIR, EISDIR}
"""`OSError` numbers that a person can correct: a file or folder that cannot be used."""


class UserError(Exception):
    """A bad command line, setting or file. Shown as one line; the process exits with code 2."""


class RunFailedError(Exception):
    """A run that failed though its input may be right, for example on a GPU without memory.

    Shown as one line; the process exits with code 1.
    """
