"""What a Redis refuses, in words for people."""

_PIPELINE = " of pipeline caused error: "


def reason_of(error: Exception) -> str:
    """Return why a Redis refused, without the command: a pipeline's holds the bytes it sends."""
    return str(error).rpartition(_PIPELINE)[2].rstrip(".")
