"""Who trains together, as `TF_CONFIG` says it."""

import json

import pytest

from tests.support import tiny_training as tiny
from trainer.strategy import is_chief, num_workers, open_strategy
from trainer.training_input_error import TrainingInputError

TOGETHER = tiny.tiny_settings(strategy="multi_worker_mirrored")


def set_config(monkeypatch: pytest.MonkeyPatch, task: str, index: int, **jobs: int) -> None:
    cluster = {job: [f"{job}{n}:1" for n in range(number)] for job, number in jobs.items()}
    config = {"cluster": cluster, "task": {"type": task, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))


def test_without_a_cluster_one_worker_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert num_workers() == 1
    assert is_chief()


def test_a_cluster_has_one_chief(monkeypatch: pytest.MonkeyPatch) -> None:
    for task, index in (("worker", 0), ("worker", 1), ("worker", 2)):
        set_config(monkeypatch, task, index, worker=3)
        assert (num_workers(), is_chief()) == (3, index == 0)
    for task, index in (("chief", 0), ("worker", 0), ("worker", 1)):
        set_config(monkeypatch, task, index, chief=1, worker=2)
        assert (num_workers(), is_chief()) == (3, task == "chief")


def test_a_command_that_workers_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_config(monkeypatch, "worker", 0, worker=2)
    with pytest.raises(TrainingInputError, match=r"TF_CONFIG names 2 workers, which train toget"):
        open_strategy(TOGETHER)


@pytest.mark.parametrize("config", ["{", '{"cluster": 1}'])
def test_what_is_no_cluster_is_refused(monkeypatch: pytest.MonkeyPatch, config: str) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(TrainingInputError, match="TF_CONFIG cannot be read"):
        open_strategy(TOGETHER)
