"""What the documentation tells people to type exists."""

import ast
import re
import shlex
import tomllib
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


def _commands(text: str) -> list[tuple[str, bool]]:
    """Return each command, of those that a line has after another too, without its variables.

    With each, whether it stands in a block, to be run as it is.
    """
    blocks = re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`((?:[A-Z_]+=\S+ )*(?:riverrun|make) [a-z][^`]*)`", text)
    commands = [
        (re.sub(r"^(\$ )?([A-Z_]+=\S+ )*", "", command.strip()), line in lines)
        for line in (*lines, *inline)
        for command in line.split(" #")[0].split(" && ")
    ]
    return [each for each in commands if each[0].startswith(("riverrun ", "make "))]


def _shown() -> list[tuple[str, str, bool]]:
    return [
        (document.relative_to(ROOT).as_posix(), *command)
        for document in DOCUMENTS
        for command in _commands(document.read_text())
    ]


@pytest.mark.parametrize(("document", "command", "in_block"), _shown())
def test_every_command_that_the_documents_show_can_be_given(
    document: str, command: str, in_block: bool
) -> None:
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
    options = {name: parameter for parameter in parser.params for name in parameter.opts}
    given = {word.split("=")[0] for word in words if word.startswith("-")} - {"--help"}
    for name in given:
        assert name in options, f"{document}: there is no {name} in: {command}"
    # In a sentence, without any value, it is named and not to be run: "`riverrun sample` writes".
    if not in_block and all(options[name].is_flag for name in given):
        return
    for parameter in parser.params:
        if parameter.param_type_name == "option" and parameter.required:
            assert given & {*parameter.opts}, f"{document}: {parameter.opts} is missing: {command}"


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


def _leaves(table: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and not path[1:]:
            yield from _leaves(value, *path, key)
        else:
            yield (*path, key), value


STEERING = [block for document, block in _blocks("toml") if document == "ranking.md"]


@pytest.mark.parametrize("block", STEERING)
def test_what_is_shown_to_steer_ranking_by_is_not_the_default_and_does_what_it_says(
    block: str,
) -> None:
    for path, value in _leaves(tomllib.loads(block)):
        default: Any = Settings()
        for key in path:
            default = getattr(default, key)
        assert value != (list(default) if isinstance(default, tuple) else default), path
        if path[-1] == "sources" and (off := re.search(r'# all but "(\w+)"', block)):
            assert {*default} - {*value} == {off[1]}


VARIABLES = [
    (document.name, name)
    for document in DOCUMENTS
    for name in sorted(set(re.findall(r"\bRIVERRUN_[A-Z_]+[A-Z]\b", document.read_text())))
]


@pytest.mark.parametrize(("document", "name"), VARIABLES)
def test_every_variable_that_the_documents_show_is_a_setting(document: str, name: str) -> None:
    if name.startswith("RIVERRUN_TEST_"):
        support = (ROOT / "tests" / "support").glob("*.py")
        assert any(f'environ.get("{name}")' in each.read_text() for each in support), name
        return
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
