"""What a benchmark needs is asked for before a shop is made, and told in one line."""

import json
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from riverrun.bench.kafka_shop import kafka_shop
from riverrun.bench.recommend import request_fields
from riverrun.bench.server import free_port
from riverrun.cli.bench import app
from riverrun.errors import RunFailedError, UserError
from tests.support.command import riverrun
from tests.support.redis_server import database

WITH_KAFKA = [["stream"], ["freshness"]]


def refused(home: Path, *arguments: str) -> str:
    """Return why the benchmark does not begin; no shop is made for it."""
    error = CliRunner().invoke(app, [*arguments, "--home", str(home)]).exception
    assert isinstance(error, UserError)
    assert not home.exists()
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize("command", [["recommend"], ["swap"]])
def test_wrk_is_looked_for_first(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install wrk" in refused(tmp_path / "shop", *command)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("diversity=.3", "--fields must be JSON: "),
        ("[]", "--fields must be a JSON object without `user_id`. Received: []"),
        ('{"user_id": "u1"}', "--fields must be a JSON object without `user_id`."),
        ('{"diversity": 2}', "--fields: diversity: Input should be less than or equal to 1"),
        ('{"divers": 1}', "--fields: divers: "),
    ],
)
def test_fields_that_the_api_would_refuse_are_refused_first(
    fields: str, reason: str, tmp_path: Path
) -> None:
    assert refused(tmp_path / "shop", "recommend", "--fields", fields).startswith(reason)


def test_a_request_has_the_fields_beside_its_user() -> None:
    for given, whole in (("{}", {"limit": 20}), ('{"limit": 5, "diversity": 0.3}', None)):
        fields = json.loads('{"user_id": "u", ' + request_fields(given))
        assert fields == {"user_id": "u"} | (whole or json.loads(given))


def test_a_redis_that_is_away_ends_with_one_line(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    servers = ["--kafka", "kafka://127.0.0.1:1", "--redis", f"redis://me:hunter2@{address}/0"]
    done = riverrun("bench", "stream", *servers, "--home", str(tmp_path / "shop"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"riverrun: --redis redis://me:***@{address}/0: ")
    assert line.endswith("Connection refused.")
    assert not (tmp_path / "shop").exists()


@pytest.mark.parametrize("command", WITH_KAFKA)
@pytest.mark.parametrize(
    ("kafka", "redis_", "reason"),
    [
        ("kafka://127.0.0.1", "redis://127.0.0.1:1/0", "--kafka: `log_url` must be kafka://HOST"),
        ("http://127.0.0.1:1", "redis://127.0.0.1:1/0", "--kafka: `log_url` must be kafka://HOST"),
        ("kafka://127.0.0.1:1", "127.0.0.1:6379", "--redis 127.0.0.1:6379: Redis URL must specify"),
        ("kafka://127.0.0.1:1", "redis://h:port/0", "--redis redis://h:port/0: Port could not be"),
    ],
)
def test_a_url_that_is_none_is_refused_by_its_option(
    command: list[str], kafka: str, redis_: str, reason: str, tmp_path: Path
) -> None:
    said = refused(tmp_path / "shop", *command, "--kafka", kafka, "--redis", redis_)
    assert said.startswith(reason)


@pytest.mark.redis
@pytest.mark.parametrize("command", WITH_KAFKA)
def test_a_kafka_that_is_away_is_refused(
    command: list[str], redis_url: str, tmp_path: Path
) -> None:
    empty = database(redis_url, 7)
    with redis.Redis.from_url(empty) as store:
        store.flushdb()
    kafka = f"kafka://127.0.0.1:{free_port()}"
    said = refused(tmp_path / "shop", *command, "--kafka", kafka, "--redis", empty)
    assert said.startswith("--kafka: kafka 127.0.0.1:")
    assert "Connection refused" in said


@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.parametrize("trains", [True, False])
def test_what_others_write_to_the_redis_while_the_shop_is_made_stays(
    redis_url: str, kafka_address: str, tmp_path: Path, trains: bool
) -> None:
    url = database(redis_url, 7)
    with redis.Redis.from_url(url) as store:
        store.flushdb()

        def prepare() -> None:
            store.set("theirs", 1)
            if not trains:
                raise RunFailedError("no room")

        expected = "must be empty" if trains else "no room"
        with (
            pytest.raises((UserError, RunFailedError), match=expected),
            kafka_shop(tmp_path, f"kafka://{kafka_address}", url, 1, prepare),
        ):
            pytest.fail("nothing must be written to it")
        assert store.keys() == [b"theirs"]
        store.flushdb()
        nothing = kafka_shop(tmp_path, f"kafka://{kafka_address}", url, 1, lambda: None)
        with nothing:
            store.set("ours", 1)
        assert store.keys() == []
