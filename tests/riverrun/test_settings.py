"""What is wrong in a settings file is named, with its value."""

from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest

from feature_repo.open_online_features import without_password
from feature_repo.settings_model import SettingsModel
from riverrun.errors import UserError
from riverrun.settings import Settings, load_settings
from riverrun.unknown_settings import RENAMED


def test_the_settings_file_is_told_which_rule_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "riverrun.toml"
    file.write_text('[[serving.rules]]\nkind = "pin"\nfilter = "price"\nplace = 1\n')
    with pytest.raises(UserError) as raised:
        load_settings(file)
    assert str(raised.value) == (
        f"settings ({file}): serving.rules.0.pin.filter: `filter` must be true or false, and is "
        "Float64. Received: 'price'."
    )


def test_with_lora_no_gate_is_on_what_is_not_measured_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "riverrun.toml"
    file.write_text('[refresh.gates]\nmin_value = { "all/diversity@10" = 0.2 }\n')
    load_settings(file)
    monkeypatch.setenv("RIVERRUN_TRAINING__TEXT__LORA_RANK", "8")
    with pytest.raises(UserError) as raised:
        load_settings(file)
    assert str(raised.value) == (
        f"settings ({file}): refresh.gates: must name no diversity@10 where "
        "training.text.lora_rank is above 0: each training reads texts in its own way. "
        "Received: 'all/diversity@10' and 8."
    )


def test_there_are_no_more_heads_than_dimensions_to_share(tmp_path: Path) -> None:
    file = tmp_path / "riverrun.toml"
    file.write_text("[training]\ndimension = 8\ntransformer_heads = 8\n")
    load_settings(file)
    file.write_text("[training]\ndimension = 8\ntransformer_heads = 16\n")
    with pytest.raises(UserError) as raised:
        load_settings(file)
    assert str(raised.value) == (
        f"settings ({file}): training: `transformer_heads` must be at most `dimension`. "
        "Received: 16 and 8."
    )


def test_training_reads_no_more_of_a_user_than_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "riverrun.toml"
    file.write_text("history_length = 40\n")
    assert load_settings(file).service_settings.history_length == 40
    assert load_settings(file).training.history_length == 40
    file.write_text("history_length = 40\ntraining.history_length = 41\n")
    with pytest.raises(UserError) as raised:
        load_settings(file)
    assert str(raised.value) == (
        f"settings ({file}): training.history_length: must be at most history_length, since no "
        "more of a user's events are kept. Received: 41 and 40."
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [("RIVERRUN_TRAINING", "fast"), ("RIVERRUN_SERVING__RANKING__SOURCES", "two_tower,ease")],
)
def test_a_variable_that_is_no_json_is_told_as_one(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("RIVERRUN_SERVING__RELOAD_SECONDS", "5")
    monkeypatch.setenv(variable, value)
    with pytest.raises(
        UserError, match=f"^environment variable {variable}: must be JSON, .* Received: '{value}'"
    ):
        load_settings()


def test_a_broker_is_no_embedded_log_and_shares_its_redis(tmp_path: Path) -> None:
    own = load_settings(home=tmp_path, online_url="redis://h:1/0")
    assert own.embedded_log == tmp_path / "log.sqlite"
    assert own.stream_state_url == f"sqlite://{tmp_path / 'checkpoint.sqlite'}"
    elsewhere = load_settings(home=tmp_path, log_url=f"LOG://{tmp_path / 'other.sqlite'}")
    assert elsewhere.embedded_log == tmp_path / "other.sqlite"
    broker = load_settings(home=tmp_path, log_url="kafka://h:9092", online_url="redis://h:1/0")
    assert broker.embedded_log is None
    assert broker.stream_state_url == "redis://h:1/0"


@pytest.mark.parametrize(
    "schedule",
    ["0 0 30 2 *", "30 3 31 2,4 *", "* * * * * *", "30 3 * * * 0 2030", "30 3 * *", "every night"],
)
def test_a_schedule_that_cannot_be_kept_is_refused(
    monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    monkeypatch.setenv("RIVERRUN_REFRESH__SCHEDULE", schedule)
    with pytest.raises(
        UserError, match=r"refresh\.schedule: .*must be a cron expression"
    ) as raised:
        load_settings()
    assert f"Received: {schedule!r}." in str(raised.value)


@pytest.mark.parametrize(
    "schedule", ["", "30 3 * * *", "0 0 29 2 *", "*/5 1,2 * jan mon", "@daily"]
)
def test_a_schedule_of_five_fields_or_by_name_is_kept(
    monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    monkeypatch.setenv("RIVERRUN_REFRESH__SCHEDULE", schedule)
    assert load_settings().refresh.schedule == schedule


@pytest.mark.parametrize("password", ["secret", "se#cret", "se/cret", "se?cr@et"])
def test_a_refused_url_shows_no_password(password: str) -> None:
    shown = without_password(f"redis://me:{password}@host:6379/0")
    assert shown == "redis://me:***@host:6379/0"


@pytest.mark.parametrize("url", ["sqlite:///a/b.sqlite", "kafka://one:9092,two:9092/shop", "x"])
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert without_password(url) == url


@pytest.mark.parametrize("key", ["log_url", "online_url", "state_url"])
def test_what_cannot_be_a_url_is_refused_by_its_key(key: str) -> None:
    with pytest.raises(UserError, match=f"settings: {key}: Invalid IPv6 URL. Received: 'kafka://"):
        load_settings(**{key: "kafka://[::1:9092/shop"})


def test_what_an_unknown_key_holds_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVERRUN_STREAMING__KAFKA__SASL_PASSWORD", "hunter2")
    with pytest.raises(UserError) as raised:
        load_settings()
    assert str(raised.value) == (
        "settings: streaming.kafka.sasl_password: unknown key. "
        "Did you mean streaming.kafka.ssl_password or streaming.kafka.sasl_plain_password?"
    )


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        # `serving.trending_weights` is nearer, and something else.
        ("[serving]\ntrending_weight = 0.1", " It is serving.ranking.weights now."),
        ("[serving]\nco_visitation_weight = 0.1", " It is serving.ranking.weights now."),
        ("[serving]\npol_size = 300", " Did you mean serving.pool_size?"),
        ("hom = 'shop'", " Did you mean home?"),
        ("[servin.ranking]\nweights = {}", " Did you mean serving?"),
        ("[serving.ranking]\nzzz = 1", ""),
        ("[[serving.rules]]\nkind = 'pin'\nfilter = 'available'\nplace = 1\nplac = 1", ""),
    ],
)
def test_an_unknown_key_is_told_what_it_may_be(tmp_path: Path, setting: str, advice: str) -> None:
    file = tmp_path / "riverrun.toml"
    file.write_text(setting)
    with pytest.raises(UserError) as raised:
        load_settings(file)
    assert str(raised.value).endswith(f"unknown key.{advice}")


def test_what_settings_are_called_now_are_settings() -> None:
    for before, now in RENAMED.items():
        with pytest.raises(AttributeError):
            attrgetter(before)(Settings())
        attrgetter(now)(Settings())


ADDRESS = "tcp://10.96.0.7:8080"


@pytest.mark.parametrize("service", ["RIVERRUN", "RIVERRUN_SERVING", "RIVERRUN_HTTP_2"])
def test_what_kubernetes_tells_of_a_service_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    links = {
        "SERVICE_HOST": "10.96.0.7",
        "SERVICE_PORT": "8080",
        "SERVICE_PORT_HTTP": "8080",
        "PORT": ADDRESS,
        "PORT_8080_TCP": ADDRESS,
        "PORT_8080_TCP_PROTO": "tcp",
        "PORT_8080_TCP_PORT": "8080",
        "PORT_8080_TCP_ADDR": "10.96.0.7",
        "PORT_53_UDP": "udp://10.96.0.7:53",
        "PORT_9_SCTP_ADDR": "10.96.0.7",
    }
    for name, value in links.items():
        monkeypatch.setenv(f"{service}_{name}", value)
    assert load_settings().model_dump() == Settings().model_dump()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RIVERRUN_PORT", "8080"),
        ("RIVERRUN_HTTP_PORT", "8080"),
        ("RIVERRUN_PORT_8080", ADDRESS),
        ("RIVERRUN_PORTS", ADDRESS),
        ("RIVERRUN_SERVICE", "10.96.0.7"),
        ("RIVERRUN_SERVING_HOST", "10.96.0.7"),
        ("RIVERRUN_LOGURL", "kafka://h:9092"),
    ],
)
def test_a_variable_that_is_neither_a_setting_nor_of_a_service_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=f"^environment variable {variable} is no setting. Known: "):
        load_settings()


@pytest.mark.parametrize(
    ("mechanism", "reason"),
    [("OAUTHBEARER", "an object of Python, which no setting can be"), ("DIGEST-MD5", "'GSSAPI'")],
)
def test_a_mechanism_that_cannot_be_set_is_refused(
    monkeypatch: pytest.MonkeyPatch, mechanism: str, reason: str
) -> None:
    monkeypatch.setenv("RIVERRUN_STREAMING__KAFKA__SASL_MECHANISM", mechanism)
    with pytest.raises(UserError, match=rf"sasl_mechanism: .*{reason}.* Received: '{mechanism}'"):
        load_settings()


def numbers_of(model: type[SettingsModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        if field.annotation is float:
            yield (*path, name)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, SettingsModel):
            yield from numbers_of(field.annotation, (*path, name))


NUMBERS = [
    (section, *path)
    for section, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, SettingsModel)
    for path in numbers_of(field.annotation)
]


@pytest.mark.parametrize("value", ["inf", "nan"])
@pytest.mark.parametrize("path", NUMBERS, ids=".".join)
def test_a_number_is_finite(path: tuple[str, ...], value: str, tmp_path: Path) -> None:
    *sections, name = path
    file = tmp_path / "riverrun.toml"
    file.write_text(f"[{'.'.join(sections)}]\n{name} = {value}\n")
    with pytest.raises(UserError, match=rf"{'.'.join(path)}: .*finite number. Received: {value}"):
        load_settings(file)


def test_a_weight_in_a_table_is_finite(tmp_path: Path) -> None:
    file = tmp_path / "riverrun.toml"
    file.write_text("[streaming.fold_in.event_type_weights]\nview = inf\n")
    with pytest.raises(
        UserError, match=r"event_type_weights\.view: .*finite number. Received: inf"
    ):
        load_settings(file)
