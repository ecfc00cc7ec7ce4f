"""What the documentation tells people to type exists."""

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from riverrun.cli.main import app
from riverrun.importing.mapping import load_mapping
from riverrun.settings import DEFAULT_FILE, Settings, load_settings
from serving.http.models import RecommendBody

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "infra").rglob("*.md"))]


def _commands(text: str) -> list[str]:
    """Return each command, of those that a line has after another too, without its variables."""
    blocks = re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`((?:[A-Z_]+=\S+ )*(?:riverrun|make) [a-z][^`]*)`", text)
    commands = [
        re.sub(r"^(\$ )?([A-Z_]+=\S+ )*", "", command.strip())
        for line in (*lines, *inline)
        for command in line.split(" #")[0].split(" && ")
    ]
    return [each for each in commands if each.startswith(("riverrun ", "make "))]


def _shown() -> list[tuple[str, str]]:
    return [
        (document.relative_to(ROOT).as_posix(), command)
        for document in DOCUMENTS
        for command in _commands(document.read_text())
    ]


@pytest.mark.parametrize(("document", "command"), _shown())
def test_every_command_that_the_documents_show_exists(document: str, command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text()
        for target in words[1:]:
            assert re.search(rf"^{re.escape(target)}:", makefile, flags=re.MULTILINE), command
        return
    parser: Any = typer.main.get_command(app)
    words = words[1:]
    while hasattr(parser, "commands") and words and not words[0].startswith("-"):
        assert words[0] in parser.commands, f"{document}: there is no {words[0]!r} in: {command}"
        parser = parser.commands[words.pop(0)]
    options = {name for parameter in parser.params for name in parameter.opts} | {"--help"}
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in options, f"{document}: there is no {word} in: {command}"


def _blocks(language: str) -> list[tuple[str, str]]:
    return [
        (document.name, block)
        for document in (ROOT / "README.md", *sorted((ROOT / "infra" / "docs").glob("*.md")))
        for block in re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL)
    ]


@pytest.mark.parametrize(("document", "block"), _blocks("toml"))
def test_every_setting_that_the_documents_show_is_one(
    document: str, block: str, tmp_path: Path
) -> None:
    file = tmp_path / "riverrun.toml"
    file.write_text(block)
    if block.startswith("# map.toml"):
        load_mapping(file)
    else:
        load_settings(file)


VARIABLES = [
    (document.name, name)
    for document in DOCUMENTS
    for name in sorted(set(re.findall(r"\bRIVERRUN_[A-Z_]+[A-Z]\b", document.read_text())))
]


@pytest.mark.parametrize(("document", "name"), VARIABLES)
def test_every_variable_that_the_documents_show_is_a_setting(document: str, name: str) -> None:
    model: Any = Settings
    for key in name.removeprefix("RIVERRUN_").lower().split("__"):
        assert key in getattr(model, "model_fields", {}), f"{document}: {name} sets nothing"
        model = model.model_fields[key].annotation


@pytest.mark.parametrize(("document", "block"), _blocks("python"))
def test_every_program_that_the_documents_show_finds_what_it_imports(
    document: str, block: str
) -> None:
    for statement in ast.walk(ast.parse(block)):
        if isinstance(statement, ast.Import):
            for name in statement.names:
                import_module(name.name)
        elif isinstance(statement, ast.ImportFrom):
            module = import_module(statement.module or "")
            for name in statement.names:
                assert hasattr(module, name.name), f"{document}: no {name.name} in {module}"


QUESTIONS = [
    (document, body)
    for document, block in _blocks("sh")
    for body in re.findall(r"/v1/recommend .*?-d '(.*?)'", block, re.DOTALL)
]


@pytest.mark.parametrize(("document", "body"), QUESTIONS)
def test_every_question_that_the_documents_show_is_one(document: str, body: str) -> None:
    RecommendBody.model_validate_json(body)


def _helps(command: Any, path: str = "riverrun") -> Iterator[tuple[str, str]]:
    yield path, command.help
    for name, child in getattr(command, "commands", {}).items():
        yield from _helps(child, f"{path} {name}")


HELPS = [*_helps(typer.main.get_command(app))]


def test_every_command_says_what_it_does() -> None:
    for command, text in HELPS:
        assert text, f"{command} has no help"


def test_nothing_that_is_shown_empties_the_settings_file_before_it_is_read() -> None:
    shown = [*HELPS, *((document.name, document.read_text()) for document in DOCUMENTS)]
    for where, text in shown:
        emptied = re.search(rf"riverrun [^\n`]*>\s*{re.escape(str(DEFAULT_FILE))}", text)
        assert emptied is None, f"{where}: {emptied}"


def test_the_readme_links_to_files_that_exist() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
