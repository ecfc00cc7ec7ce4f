"""The error where one of the workers that train together is gone."""

WORKER_LOST = "another worker of TF_CONFIG has ended or cannot be reached"
"""How its message begins."""


class WorkerLost(Exception):  # noqa: N818 — what is, not what went wrong
    """Another worker has ended too early, or cannot be reached: this one cannot go on."""
