"""The examples of infra/docs/importing.md become what it says."""

import re
import tomllib
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from feature_repo.schema import Event
from riverrun.cli.main import app
from riverrun.importing.mapping import MAPPINGS, ImportMapping
from tests.riverrun.run_import import run

DOCUMENT = Path(__file__).parents[2] / "infra" / "docs" / "importing.md"
EXAMPLES = re.findall(
    r"```(csv|jsonl)\n(.*?)```\n\n```toml\n(.*?)```\n\n```json\n(.*?)```",
    DOCUMENT.read_text(),
    re.DOTALL,
)


def test_every_file_and_every_mapping_is_part_of_an_example() -> None:
    blocks = re.findall(r"```(?:csv|jsonl)\n|```toml\n# map.toml\n", DOCUMENT.read_text())
    assert len(blocks) == 2 * len(EXAMPLES) > 0


@pytest.mark.parametrize(("form", "content", "mapping", "expected"), EXAMPLES)
def test_an_example_becomes_what_it_says(
    tmp_path: Path, form: str, content: str, mapping: str, expected: str
) -> None:
    parsed = ImportMapping.model_validate(tomllib.loads(mapping))
    (kind,) = (kind for kind in MAPPINGS if getattr(parsed, kind) is not None)
    file = tmp_path / f"{kind}.{form}"
    file.write_text(content, encoding=parsed.file.encoding)
    archive, _ = run(kind, [file], parsed)
    records = [*archive.items, *archive.users]
    for row in archive.events.frame.iter_rows(named=True):
        context = orjson.loads(row["context"] or "{}")
        given = {name: value for name, value in row.items() if value is not None}
        records.append(Event.model_validate(given | {"context": context}))
    found = [record.model_dump(mode="json") for record in records]
    wanted = [orjson.loads(line) for line in expected.splitlines()]
    assert [
        {name: have[name] for name in want} for have, want in zip(found, wanted, strict=True)
    ] == wanted


def test_the_mapping_that_the_help_shows_can_be_copied_from_a_narrow_terminal() -> None:
    printed = CliRunner().invoke(app, ["import", "--help"], env={"COLUMNS": "80"}).output
    assert max(map(len, printed.splitlines())) <= 80
    (shown,) = re.findall(r"^ *\[events\].*?(?=\n *\n)", printed, re.DOTALL | re.MULTILINE)
    mapping = ImportMapping.model_validate(tomllib.loads(shown))
    assert mapping.events is not None
    assert mapping.events.timestamp.timezone == "Europe/Berlin"
    assert "infra/docs/importing.md" in printed
