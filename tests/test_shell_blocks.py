"""What pages tell a reader to type exists: commands, options, targets of make, extras, variables of the environment.

tests/flows/test_pages_as_read.py and those of the examples run whole pages; here nothing runs, and no page is left out.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import uvicorn

from app_kernel import ServiceConfig, admin_worker
from app_kernel.cli import app as cli_app
from app_kernel.core.config import environment_name
from app_kernel.jobs import worker
from tests.page_reader import FENCE, shell_blocks

ROOT = Path(__file__).parent.parent
PAGES = [
    page
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
    # What was decided and released once may name what is called otherwise today.
    if "adr" not in page.parts and page.name != "CHANGELOG.md"
]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
COMMANDS: dict[str, Any] = {
    "app-kernel": typer.main.get_command(cli_app),
    "uvicorn": uvicorn.main,
    **{
        f"python -m {module.__name__}": typer.main.get_command(_made)
        for module in (worker, admin_worker)
        if (_made := typer.Typer(add_completion=False)).command()(module.command)
    },
}
REFUSALS: tuple[Any, ...] = (click.UsageError, typer.BadParameter.__mro__[1])
"""Of uvicorn's click and of the one that typer has."""
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
SETTINGS = {environment_name(name, field) for name, field in ServiceConfig.model_fields.items()}
NOT_SETTINGS = {
    "DATABASE_URL", "DATABASE_NAME", "COPY_FROM_URL", "COPY_TO_URL",  # read beside the settings, and by `db copy`
    "APP_KERNEL_SOAK", "PYTEST_ARGS", "PYTHON", "TEST_POSTGRES_URL", "TEST_MYSQL_URL", "TEST_REDIS_URL",  # of the tests
    "PROMETHEUS_MULTIPROC_DIR", "OTEL_RESOURCE_ATTRIBUTES",  # of libraries
}  # fmt: skip
LANGUAGES = {"python", "sh", "json", "toml", "yaml", "ini", "js", "javascript", "html", "text", "dockerfile"}
"""One spelling of each, so that no block of shell or Python is passed over (`bash`, `console`, `py`)."""


def spoken(text: str) -> Iterator[str]:
    """All shell of a page: its blocks, and the commands within its sentences."""
    yield from shell_blocks(text)
    prose = FENCE.sub("", text)
    for span in re.findall(r"`([^`]+)`", prose):
        if re.match(r"(app-kernel|uvicorn|make|pip install|python -m app_kernel\.\S+) |[A-Z_]+=", span + " "):
            yield " ".join(span.split())


def commands(shell: str) -> Iterator[list[str]]:
    """The simple commands of some shell, each as its words; substitutions are looked into."""
    for inner in re.findall(r"\$\(([^()]*)\)", shell):
        yield from commands(inner)
    lines = re.sub(r"(^|\s)#.*$", "", re.sub(r"\$\([^()]*\)", "SUBSTITUTED", shell), flags=re.MULTILINE)
    lexer = shlex.shlex(lines.replace("\\\n", " ").replace("\n", " ; "), posix=True, punctuation_chars="|&;()<>")
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("|&;()<>"):
            yield words
            words = []
        else:
            words.append(word)
    yield words


def problem(words: list[str]) -> str | None:
    """What is wrong with a command, if its name is one that is known here."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    line = " ".join(words)
    for name, command in COMMANDS.items():
        if line == name or line.startswith(f"{name} "):
            return _refused(command, words[len(name.split()) :])
        if f" {name} " in f" {line} ":  # behind xargs and the like
            return problem(words[words.index(name.split()[0]) :])
    if words[:1] == ["make"]:
        unknown = [word for word in words[1:] if "=" not in word and word not in TARGETS]
        return f"no targets: {unknown}" if unknown else None
    named = re.findall(r"app[-_]kernel\[([\w,]+)\]", line)
    unknown = [extra for each in named for extra in each.split(",") if extra not in EXTRAS]
    return f"no extras: {unknown}" if unknown else None


def _refused(command: Any, arguments: list[str]) -> str | None:
    """What the command says of these arguments; those that must be there may be missing, and nothing is converted."""
    while hasattr(command, "commands"):
        if not arguments:
            return None
        name, *arguments = arguments
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    context = command.context_class(command)
    try:
        _, rest, _ = command.make_parser(context).parse_args(arguments)
        return f"too much: {rest}" if rest else None
    except REFUSALS as refused:
        said: str = refused.format_message()
        # A sentence may name an option without its value.
        return None if "requires an argument" in said else said


def assigned(shell: str) -> set[str]:
    """The variables that some shell gives a value."""
    return set(re.findall(r"(?:^|[\s;`])([A-Z][A-Z0-9_]+)=", shell))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_of_a_page_exist_with_the_options_that_it_gives_them(page: Path) -> None:
    assert [(shell, found) for shell in spoken(page.read_text()) if (found := problems(shell))] == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_variables_of_a_page_are_settings_or_its_own(page: Path) -> None:
    text = page.read_text()
    own = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", text))
    named = {name for shell in spoken(text) for name in assigned(shell)}
    assert named - own - SETTINGS - NOT_SETTINGS == set()


def test_every_block_is_of_a_language_that_is_known_here() -> None:
    found = {language for page in PAGES for language, _ in FENCE.findall(page.read_text())}
    assert found <= LANGUAGES
    assert found >= {"python", "sh"}


def problems(shell: str) -> list[str]:
    return [found for words in commands(shell) if (found := problem(words))]


@pytest.mark.parametrize(
    "shell",
    [
        "app-kernel users create x --adminn",
        "app-kernel user list | head",
        "make tests",
        "pip install 'app-kernel[mail]' && true",
        "X=$(app-kernel jobs listt)",
        "uvicorn main:app --relod  # a comment",
        "id | xargs -n 1 python -m app_kernel.jobs.worker --task x",
        "app-kernel db backup one.akb two.akb",
    ],
)
def test_what_does_not_exist_is_found(shell: str) -> None:
    assert len(problems(shell)) == 1


def test_what_exists_is_not_refused() -> None:
    shell = "A=1 app-kernel users create x --admin > out\nid | xargs -n 1 app-kernel jobs retry\nmake run PORT=1"
    assert problems(shell) == []
    assert assigned("export A_B=1 C_D=2; E_F=3\ncurl 'x?G_H=1'") == {"A_B", "C_D", "E_F"}
