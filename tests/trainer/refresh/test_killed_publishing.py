"""A refresh may be killed, twice in a row, at each step of publishing what it has made."""

import subprocess
import sys
from pathlib import Path

import pytest

from serving.published_bundles import CURRENT, published_versions
from tests.support.killed_publishing import KILLS, RENAMED, RUN_ID
from tests.support.resumed_refresh import NOW, OLD, shop_of
from trainer.refresh.bundle_versions import rollback

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_killed_as_it_publishes_it_serves_the_old_or_the_new_bundle_and_ends(
    tmp_path: Path,
) -> None:
    folder, text_model = tmp_path / "shop", tmp_path / "text-model"
    shop = shop_of(folder, text_model)
    shop.serve(OLD)
    shop.runs.add_promotion(OLD, NOW, "train")
    command = [sys.executable, "-m", "tests.support.killed_publishing", folder, text_model]
    # Where the tests are a package, wherever pytest was started from.
    done = subprocess.run(
        command, cwd=Path(__file__).parents[3], check=True, stdout=subprocess.PIPE, text=True
    )
    run = shop.runs.get(RUN_ID)
    assert done.stdout.splitlines() == [
        *(f"{OLD if place == RENAMED else run.version} running" for place in KILLS),
        f"{run.version} published",
    ]
    # The kills were where they were meant to be: what was written lies beside `CURRENT`.
    assert len([*shop.bundles.glob(f".{CURRENT}.*")]) == KILLS.count(RENAMED)
    # What was exported first is what serves, and it is known what served before.
    assert published_versions(shop.bundles) == [OLD, run.version]
    assert not shop.checkpoints.exists()
    assert shop.runs.ends() == {"published": 1, "refused": 0, "failed": len(KILLS)}
    assert shop.runs.promoted()[0] == run.version
    assert rollback(shop.bundles, NOW) == OLD
