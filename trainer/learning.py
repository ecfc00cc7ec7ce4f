"""The training of a lesson, by all the workers that take part in it."""

from trainer.cluster import from_chief, other_workers
from trainer.import_keras import keras
from trainer.lesson import Lesson
from trainer.strategy import open_strategy
from trainer.text_tower import TextTower, load_text_tower
from trainer.train import NO_HOOKS, TrainingHooks, train
from trainer.trained_model import TrainedModel


def learn(lesson: Lesson, text_tower: TextTower, hooks: TrainingHooks = NO_HOOKS) -> TrainedModel:
    """Return the trained model. Where workers train together, all of them must call this.

    text_tower: as it is before a training.

    Raises what `train` raises, and `WorkerLost`.
    """
    settings = lesson.settings
    with other_workers():
        if settings.text.lora_rank:
            # A training must not begin with what an earlier one has taught the tower.
            keras.utils.set_random_seed(settings.seed)
            # Its LoRA weights are trained, so the strategy must have made them.
            with open_strategy(settings).scope():
                text_tower = load_text_tower(settings.text)
        return train(lesson, text_tower, hooks)


def follow() -> None:
    """Learn whatever the chief hands out, until it calls `dismiss`.

    Raises what `learn` raises.
    """
    while lesson := from_chief(None):
        learn(lesson, load_text_tower(lesson.settings.text))


def dismiss() -> None:
    """Let the followers end, as the chief that has nothing more to hand out."""
    from_chief(None)
