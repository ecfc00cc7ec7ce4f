"""Shops that `riverrun demo` and `bench` make write to their own folder and to nothing else."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from riverrun.bench.server import own_environment
from riverrun.cli import bench_making, demo
from riverrun.settings import Settings, load_settings

REDIS = "redis://127.0.0.1:9/0"


class _MadeError(Exception):
    """Carries the settings that a shop would have been opened or trained with."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings


@pytest.fixture(params=["file", "variables"])
def production(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A working directory, or an environment, that names the stores of a shop that people use."""
    monkeypatch.chdir(tmp_path)
    urls = {
        "log_url": "kafka://127.0.0.1:9/shop",
        "online_url": REDIS,
        "state_url": "redis://127.0.0.1:9/1",
    }
    if request.param == "file":
        lines = [f'{name} = "{url}"\n' for name, url in urls.items()]
        (tmp_path / "riverrun.toml").write_text("".join(lines))
    for name, url in urls.items():
        if request.param == "variables":
            monkeypatch.setenv(f"RIVERRUN_{name.upper()}", url)
    assert load_settings().online_store_url == REDIS


def _is_in(home: Path, settings: Settings) -> bool:
    urls = settings.event_log_url, settings.online_store_url, settings.stream_state_url
    return settings.home == home and all(str(home.absolute()) in url for url in urls)


@pytest.mark.usefixtures("production")
def test_the_demo_writes_to_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def opened(settings: Settings) -> Iterator[None]:
        raise _MadeError(settings)
        yield

    monkeypatch.setattr(demo, "_make_shop", lambda _: None)
    monkeypatch.setattr(demo, "opened_shop", opened)
    with pytest.raises(_MadeError) as made:
        demo.demo(port=0)
    assert _is_in(Path(".riverrun/demo"), made.value.settings)


@pytest.mark.usefixtures("production")
def test_a_benchmark_trains_on_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(settings: Settings) -> None:
        raise _MadeError(settings)

    monkeypatch.setattr(bench_making, "train_shop", trained)
    home = tmp_path / "bench"
    with pytest.raises(_MadeError) as made:
        bench_making.prepare_shop(home, 100)
    assert _is_in(home, made.value.settings)


@pytest.mark.usefixtures("production")
def test_a_server_under_a_benchmark_reads_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", own_environment({"RIVERRUN_HTTP__PORT": "9"}))
    settings = load_settings(home=tmp_path)
    assert _is_in(tmp_path, settings)
    assert settings.http.port == 9


@pytest.mark.usefixtures("production")
def test_with_a_kafka_of_its_own_a_benchmark_keeps_its_state_beside_its_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, redis = "kafka://127.0.0.1:19092/bench", "redis://127.0.0.1:16379/0"
    environment = {"RIVERRUN_LOG_URL": own, "RIVERRUN_ONLINE_URL": redis}
    monkeypatch.setattr(os, "environ", own_environment(environment))
    settings = load_settings(home=tmp_path)
    assert (settings.event_log_url, settings.online_store_url) == (own, redis)
    assert settings.stream_state_url == redis
