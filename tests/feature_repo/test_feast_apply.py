"""The folder is a Feast repository: `feast apply` works in it as Feast's users expect."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from feast import FeatureStore, PushSource

from feature_repo import definitions

REPOSITORY = Path(definitions.__file__).parent


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder in which `feast apply` was run."""
    folder = tmp_path_factory.mktemp("shop") / "feature_repo"
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    feast(folder, "apply")
    return folder


def feast(folder: Path, *arguments: str) -> str:
    # Only the folder's own files: not the checkout, not a shop of the one who runs this.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "RIVERRUN_HOME")
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("feast"), *arguments],
        cwd=folder,
        env={**environment, "FEAST_USAGE": "False"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_apply_registers_every_view(repository: Path) -> None:
    listed = feast(repository, "feature-views", "list")
    views = [view for view in definitions.ALL if hasattr(view, "batch_source")]
    assert len(views) == 7
    for view in views:
        assert view.name in listed


def test_apply_registers_services_entities_and_push_sources(repository: Path) -> None:
    store = FeatureStore(repo_path=str(repository))
    assert {service.name for service in store.list_feature_services()} == {"retrieval", "ranking"}
    assert {"user", "item"} <= {entity.name for entity in store.list_entities()}
    pushed = {source.name for source in store.list_data_sources() if type(source) is PushSource}
    assert {f"{view.name}_push" for view in store.list_feature_views()} == pushed


def test_the_modules_that_are_not_feasts_are_kept_from_it() -> None:
    lines = (REPOSITORY / ".feastignore").read_text().splitlines()
    ignored = sorted(line for line in lines if line and not line.startswith("#"))
    assert ignored == sorted(
        file.name for file in REPOSITORY.glob("*.py") if file.name != "definitions.py"
    )


def test_no_definition_is_forgotten() -> None:
    kinds = tuple({type(part) for part in definitions.ALL})
    declared = [part for part in vars(definitions).values() if isinstance(part, kinds)]
    assert sorted(part.name for part in declared) == sorted(part.name for part in definitions.ALL)
