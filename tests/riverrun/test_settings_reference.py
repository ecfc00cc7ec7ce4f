"""`riverrun settings`: a settings file that explains itself."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from riverrun.errors import UserError
from riverrun.protocols import PROTOCOLS
from riverrun.settings import Settings, load_settings
from riverrun.settings_reference import meaning, settings_reference
from tests.support.command import riverrun

SAID_BY_THEMSELVES = {"host", "port"}

CHANGED = """
home = "shop"
online_url = "redis://reader:geheim@store:6379/0"
[training]
tensorboard = "logs"
[training.ranking]
hidden_units = [16]
[streaming.kafka]
security_protocol = "SASL_SSL"
sasl_plain_password = "geheim"
[serving]
trending_weights = { "bestellt am Kiosk" = 2.5 }
[serving.reranking]
brand_cap = 2
[[serving.rules]]
kind = "bury"
filter = "brand = 'No \\"Name\\"'"
factor = 0.1
[[serving.rules]]
kind = "pin"
filter = "item_id = 'i1'"
place = 3
valid_from = 2026-06-01T00:00:00+02:00
"""


@pytest.fixture
def changed(tmp_path: Path) -> Settings:
    file = tmp_path / "riverrun.toml"
    file.write_text(CHANGED)
    return load_settings(file)


def models(settings: BaseModel, prefix: str = "") -> Iterator[tuple[str, BaseModel]]:
    yield prefix, settings
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from models(value, f"{prefix}.{name}" if prefix else name)


def test_the_defaults_read_as_a_settings_file_are_the_defaults(tmp_path: Path) -> None:
    settings = load_settings()
    (tmp_path / "all.toml").write_text(settings_reference(settings))
    assert load_settings(tmp_path / "all.toml").model_dump() == settings.model_dump()


def test_what_was_set_reads_as_it_was_set_but_for_secrets(
    tmp_path: Path, changed: Settings
) -> None:
    text = settings_reference(changed)
    assert "geheim" not in text
    (tmp_path / "all.toml").write_text(text)
    read, expected = load_settings(tmp_path / "all.toml").model_dump(), changed.model_dump()
    assert (read.pop("online_url"), expected.pop("online_url")) == ("", changed.online_url)
    read["streaming"]["kafka"].pop("sasl_plain_password")
    expected["streaming"]["kafka"].pop("sasl_plain_password")
    assert read == expected


def test_each_part_is_printed_under_its_name(tmp_path: Path, changed: Settings) -> None:
    file = tmp_path / "part.toml"
    for part, expected in models(changed):
        if part:
            file.write_text(settings_reference(changed, part))
            read: BaseModel = load_settings(file)
            for name in part.split("."):
                read = getattr(read, name)
            hidden = {"kafka", "sasl_plain_password"}
            assert read.model_dump(exclude=hidden) == expected.model_dump(exclude=hidden)


def test_a_value_that_is_no_default_has_the_default_behind_it(changed: Settings) -> None:
    lines = settings_reference(changed, "training.ranking").splitlines()
    assert "hidden_units = [16] # default: [64, 32]" in lines
    assert not any("# default" in line for line in lines if not line.startswith("hidden_units"))
    lines = settings_reference(changed, "streaming.kafka").splitlines()
    assert "# sasl_plain_password = **********" in lines
    assert "# ssl_cafile is unset" in lines


@pytest.mark.parametrize(
    ("part", "known"),
    [("servin", "http, grpc"), ("serving.x", "serving.ranking"), ("http.port", "none")],
)
def test_a_part_that_is_none_is_refused(part: str, known: str) -> None:
    with pytest.raises(UserError, match=f"^{part} is no part of the settings.*{known}"):
        settings_reference(Settings.model_construct(), part)


def test_every_setting_is_explained() -> None:
    missing = []
    for part, model in models(Settings.model_construct()):
        text = meaning(type(model))
        patterns = [each.replace("*", r"\w+") for each in re.findall(r"\w+_\*|\*_\w+", text)]
        for name in type(model).model_fields:
            named = re.search(rf"\b{name}\b", text) or any(re.fullmatch(p, name) for p in patterns)
            if not (
                named or name in SAID_BY_THEMSELVES or isinstance(getattr(model, name), BaseModel)
            ):
                missing.append(f"{part}.{name}")
    assert missing == []


@pytest.mark.parametrize("preset", PROTOCOLS)
def test_a_shop_may_train_as_a_preset_does(tmp_path: Path, preset: str) -> None:
    (tmp_path / "riverrun.toml").write_text("[training]\nepochs = 3\n[serving]\npool_size = 777\n")
    settings = str(tmp_path / "riverrun.toml")
    done = riverrun("settings", "--preset", preset, "--settings", settings)
    assert done.returncode == 0, done.stderr
    (tmp_path / "preset.toml").write_text(done.stdout)
    read, protocol = load_settings(tmp_path / "preset.toml"), PROTOCOLS[preset]
    assert read.training == protocol.settings
    assert read.history_length == protocol.service.history_length
    assert read.serving.pool_size == 777


def test_a_preset_does_not_say_on_what_a_shop_trains(tmp_path: Path) -> None:
    (tmp_path / "riverrun.toml").write_text('[training]\nstrategy = "mirrored"\nepochs = 3\n')
    shop = load_settings(tmp_path / "riverrun.toml")
    training = PROTOCOLS["movielens"].of_shop(shop).training
    assert training.strategy == "mirrored"
    assert training.epochs == PROTOCOLS["movielens"].settings.epochs


def test_a_preset_that_there_is_not_is_refused() -> None:
    refused = riverrun("settings", "--preset", "icecat")
    assert refused.returncode == 2
    assert "online-retail, sequences, movielens" in refused.stderr


def test_the_command_prints_what_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "riverrun.toml").write_text("[http]\nport = 9000\n")
    settings = str(tmp_path / "riverrun.toml")
    done = riverrun("settings", "http", "--settings", settings)
    assert done.returncode == 0, done.stderr
    assert "port = 9000 # default: 8080" in done.stdout
    refused = riverrun("settings", "htp", "--settings", settings)
    assert refused.returncode == 2
    assert "htp is no part of the settings" in refused.stderr
