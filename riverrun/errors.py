"""What the command line says in one line, and ends with.

UserError         2, what a person can put right
RunFailedError    1, what may pass: run it again
"""

from errno import EACCES, EEXIST, EISDIR, ENOTDIR, EPERM, EROFS

NOT_TO_BE_USED = {EACCES, EPERM, EROFS, EEXIST, ENOTDIR, EISDIR}
"""Numbers of an `OSError` that a person can put right: of a file or folder that cannot be used."""


class UserError(Exception):
    """A bad command line, setting or file. Shown as one line; the process exits with code 2."""


class RunFailedError(Exception):
    """A run that failed though all it was given may be right, as where a GPU had no memory left.

    Shown as one line; the process exits with code 1.
    """
