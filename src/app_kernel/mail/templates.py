"""Templates of mails: the application's own directory first, then the kernel's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
    select_autoescape,
)

from app_kernel.core.errors import UndeliverableMail
from app_kernel.mail.message import LONGEST_SUBJECT, in_words, one_line

BUILT_IN = Path(__file__).parent / "templates"
SUBJECT, TEXT, HTML = ".subject.txt", ".txt", ".html"


@dataclass(frozen=True, slots=True)
class Rendered:
    """What became of a template and its values."""

    subject: str
    text: str
    html: str | None


class Templates:
    """The mails of a service by name, each `name.subject.txt`, `name.txt` and, if it has HTML too, `name.html`.

    Values are escaped in HTML; one that is missing is an error. A template reaches nothing but other templates.
    """

    def __init__(self, directory: str | None, *, auto_reload: bool = False) -> None:
        self._directory = None if directory is None else Path(directory)
        loaders: list[BaseLoader] = [] if directory is None else [FileSystemLoader(directory)]
        self._environment = Environment(
            loader=ChoiceLoader([*loaders, FileSystemLoader(BUILT_IN)]),
            autoescape=select_autoescape(enabled_extensions=[HTML[1:]], disabled_extensions=[], default=False),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=auto_reload,
        )
        self._environment.filters |= {"one_line": one_line, "in_words": in_words}

    def render(self, name: str, values: Mapping[str, Any]) -> Rendered:
        """The mail of this name with these values; raises UndeliverableMail, which names no value."""
        if not _is_name(name):
            raise UndeliverableMail("The name of a mail template is 1 to 64 of A-Z a-z 0-9 _ -")
        subject = one_line(self._render(name + SUBJECT, values))
        text, html = self._render(name + TEXT, values), None
        if self._has(name + HTML):
            html = self._render(name + HTML, values)
        if len(subject) > LONGEST_SUBJECT:
            subject = subject[: LONGEST_SUBJECT - 3] + "..."
        return Rendered(subject, text, html)

    def find_problems(self) -> Iterator[str]:
        """What is wrong with the application's own templates."""
        if self._directory is None:
            return
        if not self._directory.is_dir():
            yield "is no directory"
            return
        names = [path.name for path in sorted(self._directory.iterdir()) if path.suffix in (TEXT, HTML)]
        for name in names:
            try:
                self._environment.get_template(name)
            except TemplateSyntaxError as exc:
                yield f"{exc.name or name}, line {exc.lineno}: {exc.message}"
            except (TemplateError, UnicodeDecodeError, OSError) as exc:
                yield f"{name}: cannot be read as a template in UTF-8 ({type(exc).__name__})"
            if name.endswith(SUBJECT) and not self._has(mail := name.removesuffix(SUBJECT) + TEXT):
                yield f"{name}: there is no {mail} beside it"

    def _render(self, file: str, values: Mapping[str, Any]) -> str:
        try:
            return self._environment.get_template(file).render(values).strip() + "\n"
        except TemplateNotFound as exc:
            raise UndeliverableMail(f"There is no mail template {exc.name}.") from None
        except UndefinedError as exc:
            raise UndeliverableMail(f"The mail template {file} lacks a value: {exc.message}.") from None
        except Exception as exc:  # noqa: BLE001 - a template can raise anything, and its text may quote a value
            raise UndeliverableMail(f"The mail template {file} cannot be rendered: {type(exc).__name__}.") from None

    def _has(self, file: str) -> bool:
        return any((folder / file).is_file() for folder in (self._directory, BUILT_IN) if folder is not None)


def _is_name(name: object) -> bool:
    # A name makes a path, and only this one: no dot, no slash.
    return isinstance(name, str) and 0 < len(name) <= 64 and name.replace("-", "_").isidentifier() and name.isascii()
