"""A command that several workers run, of which one does all but the training steps alone."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from riverrun.cli.console import err
from riverrun.errors import RunFailedError, UserError
from riverrun.settings import Settings


@contextmanager
def trained_together(settings: Settings) -> Iterator[None]:
    """Let all workers in `TF_CONFIG`, if there are several, train what the chief trains in here.

    The chief alone gets into the block. The others follow it, and end when it leaves the block:
    with code 0, unless it leaves by an error.

    Raises `UserError` where `TF_CONFIG` cannot be read, and `RunFailedError` where another worker
    is gone.
    """
    from tensorflow.errors import OpError

    from trainer.cluster import trains_together
    from trainer.learning import dismiss, follow
    from trainer.strategy import is_chief
    from trainer.training_input_error import TrainingInputError
    from trainer.worker_lost import WorkerLost

    try:
        together = trains_together(settings.training)
    except TrainingInputError as error:
        raise UserError(str(error)) from error
    if not together:
        yield
        return
    try:
        if is_chief():
            err.print("Waiting until all workers have started ...")
            _join()
            yield
            dismiss()
            return
        err.print("This worker helps to train; the chief judges, publishes and reports.")
        # While it waits for the chief Python hears of no signal; and it holds nothing open.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        _join()
        follow()
    except (WorkerLost, OpError) as error:
        raise RunFailedError(" ".join(str(error).split())) from error
    except TrainingInputError as error:
        raise UserError(str(error)) from error
    raise typer.Exit


def _join() -> None:
    """Join the cluster, and leave the handlers of signals as they were."""
    from trainer.strategy import join_cluster

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # While it waits for the others Python hears of no signal.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    join_cluster()
    # TensorFlow has taken SIGTERM for itself, and would do nothing about it.
    for number, handler in before.items():
        signal.signal(number, handler)
