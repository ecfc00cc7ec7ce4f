"""The folder is a Feast repository: `feast apply` works in it as Feast's users expect."""

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import feature_repo.import_feast  # noqa: F401

# isort: split
from feast import FeatureStore, PushSource

from feature_repo import definitions
from feature_repo.feast_online_features import (
    FeastOnlineFeatures,
    redis_online_store,
    sqlite_online_store,
)
from feature_repo.history import HistoryEvent, UserHistory
from feature_repo.online_features import FeatureRecord, ItemStatistics
from feature_repo.shop_file import ShopFileError

# Ibis calls a method that DuckDB has renamed since, and DuckDB says so every time.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
REPOSITORY = Path(definitions.__file__).parent


HISTORY = UserHistory("u1", (HistoryEvent(1_767_225_600_000_000, "e1", "i1", "view", 1.0),))
STATISTICS = ItemStatistics("i1", 1_767_225_600_000_000, ("view",), (1.0,), (2.0,), (3.0,))
FEAST = str(Path(sys.executable).with_name("feast"))
# Importing Feast takes most of the time of a command.
SEVERAL = """
import json, sys
from feast.cli.cli import cli
for command in sys.argv[1:]:
    print(end="\\f")
    cli(json.loads(command), standalone_mode=False)
"""
LONG_AGO, LATER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the folder in which `feast apply` was run, and what Feast lists in it then."""
    folder = copied(tmp_path_factory.mktemp("shop"))
    return folder, several(folder, ["apply"], ["feature-views", "list"])


@pytest.fixture(scope="module")
def repository(applied: tuple[Path, str]) -> Path:
    return applied[0]


def copied(shop: Path) -> Path:
    folder = shop / "feature_repo"
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def service(folder: Path) -> FeastOnlineFeatures:
    """Return the features of the default shop beside the folder as Riverrun opens them."""
    home = folder.parent / ".riverrun"
    return FeastOnlineFeatures(sqlite_online_store(home / "online.sqlite"), home / "registry.db")


def beside_a_redis(home: Path) -> FeastOnlineFeatures:
    """Open the features of a shop whose online store is a Redis, which nobody asks here."""
    return FeastOnlineFeatures(redis_online_store("127.0.0.1", 1, 0), home / "registry.db")


def write_rows(folder: Path, view: str, rows: pl.DataFrame) -> None:
    """Put rows into the view's offline source, as one who has some would."""
    file = folder.parent / ".riverrun" / "offline" / f"{view}.parquet"
    without_rows = pl.read_parquet(file)
    assert without_rows.is_empty()
    written = pl.concat([without_rows, rows.cast(dict(without_rows.schema))], how="diagonal")
    written.write_parquet(file)


def several(folder: Path, *commands: list[str]) -> str:
    """Run commands of Feast one after the other in one process; return what the last one says."""
    said = run(folder, sys.executable, "-c", SEVERAL, *map(json.dumps, commands))
    return said.rpartition("\f")[2]


def run(folder: Path, *command: str) -> str:
    # Only the folder's own files: not the checkout, not a shop of the one who runs this.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "RIVERRUN_HOME")
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment, "FEAST_USAGE": "False"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_apply_registers_every_view(applied: tuple[Path, str]) -> None:
    _, listed = applied
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


def test_materialising_leaves_what_the_stream_has_pushed(repository: Path) -> None:
    with closing(service(repository)) as features:
        features.push([HISTORY, STATISTICS])
    several(
        repository,
        ["materialize", LONG_AGO.isoformat(), LATER.isoformat()],
        ["materialize-incremental", (LATER + timedelta(days=1)).isoformat()],
    )
    kept: list[FeatureRecord | None] = []
    with closing(service(repository)) as features:
        kept += features.get(UserHistory, ["u1", "nobody"])
        kept += features.get(ItemStatistics, ["i1"])
    assert kept == [HISTORY, None, STATISTICS]


@pytest.mark.parametrize("name", ["retrieval", "ranking"])
def test_a_feature_service_is_asked_online_and_of_the_past(tmp_path: Path, name: str) -> None:
    folder = copied(tmp_path)
    with closing(service(folder)) as features:
        features.push([HISTORY, STATISTICS])
    store = FeatureStore(repo_path=str(folder))
    asked = store.get_feature_service(name)
    row = {"user_id": "u1", "item_id": "i1"}
    online = store.get_online_features(asked, [row], full_feature_names=True).to_dict()
    assert online["user_history__event_types"][0] is not None
    past = pl.DataFrame({**row, "event_timestamp": LATER}).to_pandas()
    joined = store.get_historical_features(past, asked, full_feature_names=True).to_df()
    assert set(joined.columns) >= set(online)


def test_feasts_own_commands_need_no_apply_where_riverrun_was_run(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    with closing(service(folder)) as features:
        features.push([HISTORY])
    FeatureStore(repo_path=str(folder)).materialize(LONG_AGO, LATER)
    with closing(service(folder)) as features:
        assert features.get(UserHistory, ["u1"]) == [HISTORY]


@pytest.mark.parametrize("offline_store", ["duckdb", "dask"])
def test_every_view_can_be_asked_about_past_moments(tmp_path: Path, offline_store: str) -> None:
    folder = copied(tmp_path)
    service(folder).close()
    settings = folder / "feature_store.yaml"
    settings.write_text(settings.read_text().replace("type: duckdb", f"type: {offline_store}"))
    store = FeatureStore(repo_path=str(folder))
    features = [
        f"{view.name}:{field.name}"
        for view in store.list_feature_views()
        for field in view.features
    ]
    asked = pl.DataFrame(
        {"user_id": ["u1", "u2"], "item_id": ["i1", "i2"], "event_timestamp": [LATER, LATER]}
    )
    answered = store.get_historical_features(
        asked.to_pandas(), features, full_feature_names=True
    ).to_df()
    assert sorted(answered["user_id"]) == ["u1", "u2"]
    assert {name.replace(":", "__") for name in features} <= set(answered.columns)
    store.materialize(LONG_AGO, LATER)


def test_rows_that_one_has_written_are_joined_and_materialised(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    service(folder).close()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        ("u1", moment, '{"plan": "old"}'),
        ("u1", moment + timedelta(days=2), '{"plan": "new"}'),
    ]
    columns = ["user_id", "event_timestamp", "attributes"]
    write_rows(folder, "user_profile", pl.DataFrame(rows, schema=columns, orient="row"))
    cuts = [moment + timedelta(days=days) for days in (-1, 1, 3)]
    store = FeatureStore(repo_path=str(folder))
    asked = pl.DataFrame({"user_id": ["u1"] * 3, "event_timestamp": cuts}).to_pandas()
    joined = store.get_historical_features(asked, ["user_profile:attributes"]).to_arrow()
    known = pl.DataFrame(joined).sort("event_timestamp")["attributes"].to_list()
    assert known == [None, '{"plan": "old"}', '{"plan": "new"}']
    store.materialize(LONG_AGO, LATER)
    online = store.get_online_features(["user_profile:attributes"], [{"user_id": "u1"}]).to_dict()
    assert online["attributes"] == ['{"plan": "new"}']


def test_a_source_with_rows_is_left_when_the_definitions_are_applied(repository: Path) -> None:
    rows = {"user_id": ["u1"], "event_timestamp": [LATER], "attributes": ["{}"]}
    write_rows(repository, "user_profile", pl.DataFrame(rows))
    run(repository, FEAST, "apply")
    service(repository).close()
    file = repository.parent / ".riverrun" / "offline" / "user_profile.parquet"
    assert pl.read_parquet(file)["user_id"].to_list() == ["u1"]
    file.unlink()


def test_a_shop_is_applied_from_a_folder_beside_which_nothing_is_written(tmp_path: Path) -> None:
    """As where Riverrun is installed as a package: by a copy of `feature_store.yaml`."""
    folder, shop = copied(tmp_path / "site-packages"), tmp_path / "a shop"
    shop.mkdir()
    paths = (folder / "feature_store.yaml").read_text().replace("../.riverrun", str(shop))
    file = shop / "feature_store.yaml"
    file.write_text(paths)
    run(folder, "env", f"RIVERRUN_HOME={shop}", FEAST, "--feature-store-yaml", str(file), "apply")
    assert [*folder.parent.iterdir()] == [folder]
    views = FeatureStore(fs_yaml_file=file).list_feature_views()
    assert {view.batch_source.path for view in views} == {
        str(shop / "offline" / f"{view.name}.parquet") for view in views
    }


def test_a_registry_is_left_alone_by_those_who_mount_the_shop_elsewhere(tmp_path: Path) -> None:
    beside_a_redis(tmp_path / "applied").close()
    mounted = (tmp_path / "applied").rename(tmp_path / "mounted")
    before = (mounted / "registry.db").stat()
    beside_a_redis(mounted).close()
    after = (mounted / "registry.db").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_what_to_do_is_said_of_a_registry_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    registry = tmp_path / "registry.db"

    def refused(self: FeatureStore, objects: object) -> None:
        raise OSError(number, os.strerror(number), str(registry))

    # Not by the file's mode, which root may ignore.
    monkeypatch.setattr(FeatureStore, "apply", refused)
    with pytest.raises(ShopFileError, match="start it once as their owner") as raised:
        beside_a_redis(tmp_path)
    assert str(raised.value).startswith(f"{registry}: {os.strerror(number)}. ")
