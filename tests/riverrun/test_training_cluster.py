"""`training.strategy = "multi_worker_mirrored"`, by real commands with a cluster in `TF_CONFIG`."""

import time
from pathlib import Path

import pytest

from feature_repo.archive import Archive
from serving.published_bundles import current_bundle
from tests.support import tiny_training as tiny
from tests.support.tiny_refresh import events
from tests.support.workers import forked, started
from trainer.refresh.runs_file import RunsFile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = f"""
{tiny.TRAINING}labels_per_position = 1
epochs = 1
strategy = "multi_worker_mirrored"
[training.ranking]
enabled = false
[training.warm_start]
epochs = 2
min_users = 10
[refresh.gates]
min_users = 0
max_loss = {{{{}}}}
"""


def riverrun(command: str, home: Path) -> list[str]:
    settings = home.parent / "riverrun.toml"
    return [command, "--home", str(home), "--settings", str(settings)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop that one worker has trained."""
    folder = tmp_path_factory.mktemp("cluster")
    archive = Archive(folder / "shop" / "archive")
    archive.write_items("items", tiny.tiny_items())
    archive.events.write("first", events(0, 20))
    preset = tiny.tiny_preset(folder / "bert")
    (folder / "riverrun.toml").write_text(SETTINGS.format(preset=preset))
    with started(["riverrun", *riverrun("train", folder / "shop")], workers=1) as [worker]:
        worker.ended(0)
    return folder / "shop"


def test_one_worker_trains_and_publishes(home: Path) -> None:
    assert current_bundle(home / "bundles") is not None


def test_workers_go_on_from_where_one_was_killed_and_the_chief_alone_publishes(home: Path) -> None:
    before = current_bundle(home / "bundles")
    assert before is not None
    Archive(home / "archive").events.write("second", events(20, 30))
    with forked(riverrun("refresh", home), workers=2) as [chief, follower]:
        # Written behind the state of an epoch.
        while not list((home / "training").rglob("checkpoint")):
            assert chief.process.is_alive(), chief.output.read_text()
            time.sleep(0.01)
        follower.process.kill()
        printed = chief.ended(1)
    assert "riverrun: another worker of TF_CONFIG has ended or cannot be reached" in printed
    assert "Traceback" not in printed
    assert current_bundle(home / "bundles") == before
    assert list((home / "training").rglob("checkpoint"))

    with forked(riverrun("refresh", home), workers=2) as [chief, follower]:
        printed = chief.ended(0)
        of_follower = follower.ended(0)
    assert f"warm start from {before.name}" in printed
    assert "the chief judges, publishes and reports." in of_follower
    assert "ndcg" not in of_follower
    # A refresh lets no bundle serve that a server could not load.
    bundle = current_bundle(home / "bundles")
    assert bundle is not None
    [run] = RunsFile(home / "bundles").all()
    assert (run.status, run.version) == ("published", bundle.name)
    assert {each.name for each in (home / "bundles").glob("2*")} == {before.name, bundle.name}
