"""Settings that a command writes are those that are read, and what a person wrote stays."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.errors import UserError
from riverrun.settings import load_settings
from riverrun.settings_file import settings_toml, write_settings

VALUES = {
    "training.ranking.ease_days": 31.5,
    "training.ranking.hidden_units": (32, 16),
    "training.dimension": 64,
    "training.learning_rate": 3e-4,
}
WRITTEN = """\
# The shop's own.
home = "shop"   # here

[training.ranking]
ease_days = 60.0  # two months

[http]
port = 8081

[training.text]
max_tokens = 32
"""


def test_what_is_written_is_read_and_the_rest_stays(tmp_path: Path) -> None:
    file = tmp_path / "riverrun.toml"
    file.write_text(WRITTEN)
    file.chmod(0o640)
    write_settings(file, VALUES)
    text = file.read_text()
    for kept in ("# The shop's own.", 'home = "shop"   # here', "# two months", "port = 8081"):
        assert kept in text
    before, after = tomllib.loads(WRITTEN), tomllib.loads(text)
    assert after["training"].pop("dimension") == 64
    assert after["training"].pop("learning_rate") == 3e-4
    assert after["training"]["ranking"] == {"ease_days": 31.5, "hidden_units": [32, 16]}
    del before["training"]["ranking"], after["training"]["ranking"]
    assert after == before
    training = load_settings(file).training
    assert (training.ranking.hidden_units, training.ranking.ease_days) == ((32, 16), 31.5)
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    file = tmp_path / "riverrun.toml"
    write_settings(file, VALUES)
    assert file.read_text() == settings_toml(VALUES)
    assert load_settings(file).training.dimension == 64


def test_nothing_is_written_where_it_would_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "riverrun.toml"
    file.write_text(WRITTEN)
    monkeypatch.setenv("RIVERRUN_TRAINING__RANKING__EASE_DAYS", "7")
    with pytest.raises(UserError, match=r"training\.ranking\.ease_days = 31\.5 .* says 7\.0"):
        write_settings(file, VALUES)
    with pytest.raises(UserError, match="dimension"):
        write_settings(file, {"training.dimension": 3})
    assert file.read_text() == WRITTEN
    assert list(tmp_path.iterdir()) == [file]


SECTIONS = ["home = 'a'\n", *("\n[" + part.strip() + "\n" for part in WRITTEN.split("\n[")[1:])]


@given(st.lists(st.sampled_from(range(1, len(SECTIONS))), unique=True), st.booleans())
def test_it_is_toml_whatever_stands_in_the_file(order: list[int], has_home: bool) -> None:
    before = "".join([SECTIONS[0]] * has_home + [SECTIONS[number] for number in order])
    after = tomllib.loads(settings_toml(VALUES, before))
    assert after["training"]["dimension"] == 64
    assert after["training"]["ranking"]["hidden_units"] == [32, 16]
    expected = tomllib.loads(before)
    assert after.get("http") == expected.get("http")
    assert after.get("home") == expected.get("home")
    assert after["training"].get("text") == expected.get("training", {}).get("text")
