"""What a person at the command line can put right."""


class UserError(Exception):
    """A bad command line, setting or file. Shown as one line; the process exits with code 2."""
