"""A refresh that goes on from what serves may be killed in the middle of any step."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from serving.bundle import verify
from serving.published_bundles import current_version, published_versions
from tests.support.killed_refresh import FULL, KILLS, RUN_ID, run_once, shop_to_refresh
from trainer.refresh.runs_file import RunsFile
from trainer.warm_start import WEIGHTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_killed_in_the_middle_of_its_steps_it_ends_as_one_that_was_left_alone(
    preset: Path, tmp_path: Path
) -> None:
    shop = shop_to_refresh(tmp_path / "alone", preset)
    nothing_held_out = shop.settings.model_copy(update={"holdout_share": 0.0, "epochs": 1})
    first = shop.refreshed(20, settings=nothing_held_out).bundle.name
    killed = shop_to_refresh(tmp_path / "killed", preset)
    killed.cache.close()
    shutil.copytree(shop.bundles, killed.bundles)
    steps = tmp_path / "steps"
    command = [sys.executable, "-m", "tests.support.killed_refresh"]
    arguments = map(str, (tmp_path / "killed", preset, steps))
    # Where the tests are a package, wherever pytest was started from.
    subprocess.run([*command, *arguments], check=True, cwd=Path(__file__).parents[3])
    expected = run_once(shop)
    shop.cache.close()
    assert expected is not None
    (run,) = RunsFile(killed.bundles).all()
    assert (run.run_id, run.status) == (RUN_ID, "published")
    assert published_versions(killed.bundles) == [first, run.version]
    assert current_version(killed.bundles) == run.version
    # Nothing half made is left.
    assert not list(killed.bundles.glob(".building-*"))
    assert not killed.checkpoints.exists()
    made, alone = verify(killed.bundles / str(run.version)), verify(expected.bundle)
    assert made.model["start"] == alone.model["start"] == f"warm start from {first}"
    assert made.metrics == pytest.approx(alone.metrics, abs=0.05)
    own = {"version", "created_at", "files", "metrics"}
    assert made.model_dump(exclude=own) == alone.model_dump(exclude=own)
    weights = load_file(killed.bundles / made.version / WEIGHTS)
    for name, weight in load_file(expected.bundle / WEIGHTS).items():
        np.testing.assert_allclose(weights[name], weight, atol=1e-2, err_msg=name)
    # An epoch that was written down is not trained again.
    trained = [tuple(map(int, line.split())) for line in steps.read_text().splitlines()]
    assert trained == sorted(trained)
    taught = Counter(trained)
    assert taught[1, 2] == taught[1, 1] + KILLS.count(FULL)
