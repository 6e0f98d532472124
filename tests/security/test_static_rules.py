"""What the source does not do with data, and that every exception from a rule of security says why.

The linter keeps the rules that it has (`S`, the checks of Bandit); here are the ones that it does not have. Each has a
piece of code that must break it.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "app_kernel"
BY_NAME = {
    "admin_worker.py": "--app and --features, of whoever starts the worker",
    "jobs/registry.py": "the tasks that an application names in its own code, or --tasks",
    "jobs/worker.py": "--app, of whoever starts the worker",
}
"""The only files that import what a text names, and whose text that is."""
CLAUSES = {"find_entities", "count_entities", "iterate_entities", "execute"}
ENGINE = ("db/", "jobs/queues/", "core/sql_words.py")
"""Where SQL is spelled: each statement there is an exception from the linter's S608, with its reason."""
OF_CONSTANTS = {"audit/store.py": "the direction of an order is ASC or DESC, chosen there between the two"}
NOQA = re.compile(r"#\s*noqa:\s*([A-Z0-9, ]+?)\s*(?:-\s*(\S.*))?$", re.MULTILINE)

Found = Iterator[tuple[int, str]]


def sources() -> dict[str, str]:
    """The text of each file of the package, by its path in it."""
    return {path.relative_to(SOURCE).as_posix(): path.read_text() for path in sorted(SOURCE.rglob("*.py"))}


def name_of(call: ast.Call) -> str:
    """The last part of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def imports_by_name(tree: ast.Module) -> Found:
    """Imports of a module that a value names, unless it is one of this package."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if name_of(call) in {"import_module", "__import__", "run_path", "run_module"} and not is_own(call.args[0]):
            yield call.lineno, ast.unparse(call)


def is_own(name: ast.expr) -> bool:
    """A name that is written there, or the beginning of one that can only be a module of the package."""
    first = name.values[0] if isinstance(name, ast.JoinedStr) else name
    if not isinstance(first, ast.Constant):
        return False
    return first is name or str(first.value).startswith("app_kernel.")


def clauses_of_values(tree: ast.Module) -> Found:
    """Texts of SQL into which a value is put: only the name of a field may be, in brackets, and constants."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if name_of(call) in CLAUSES:
            for text in [*call.args, *(keyword.value for keyword in call.keywords)]:
                if is_made_of_values(text):
                    yield text.lineno, ast.unparse(text)


def is_made_of_values(text: ast.expr) -> bool:
    """Whether a text is put together of more than constants and names in brackets."""
    if isinstance(text, ast.BinOp) and isinstance(text.op, ast.Add | ast.Mod):
        return any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (text.left, text.right))
    if isinstance(text, ast.Call) and name_of(text) == "format":
        return True
    if not isinstance(text, ast.JoinedStr):
        return False
    bare = [part for part in text.values if isinstance(part, ast.FormattedValue) and not is_constant(part.value)]
    written = "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in text.values)
    return len(re.findall(r"\[\0\]|\A\0", written)) < len(bare)


def is_constant(value: ast.expr) -> bool:
    """A name in capitals, which was put together where the linter looks at it, or a choice between written words."""
    if isinstance(value, ast.IfExp):
        return isinstance(value.body, ast.Constant) and isinstance(value.orelse, ast.Constant)
    return isinstance(value, ast.Name) and value.id.strip("_").isupper()


def unexplained(text: str) -> Iterator[str]:
    """Exceptions from rules of security that do not say why."""
    for codes, reason in NOQA.findall(text):
        if re.search(r"\bS\d", codes) and not reason:
            yield codes


@pytest.mark.acceptance("OP10")
def test_nothing_is_imported_because_data_says_so() -> None:
    found = {path: list(imports_by_name(ast.parse(text))) for path, text in sources().items()}
    assert {path for path, lines in found.items() if lines} == BY_NAME.keys(), found


@pytest.mark.acceptance("OP10")
def test_no_value_becomes_a_part_of_a_clause() -> None:
    features = {path: text for path, text in sources().items() if not path.startswith(ENGINE)}
    assert len(features) > 200
    found = {path: list(clauses_of_values(ast.parse(text))) for path, text in features.items()}
    assert {path: lines for path, lines in found.items() if lines}.keys() == OF_CONSTANTS.keys(), found


@pytest.mark.acceptance("OP10")
def test_every_exception_from_a_rule_of_security_says_why() -> None:
    assert {path: codes for path, text in sources().items() if (codes := list(unexplained(text)))} == {}


@pytest.mark.acceptance("OP10")
def test_all_rules_of_security_are_on_and_those_that_are_off_say_why() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert [code for code in lint["ignore"] if code.startswith("S") and code[1:].isdigit()] == ["S603"]
    for place, codes in lint["per-file-ignores"].items():
        of_security = [code for code in codes if re.fullmatch(r"S\d*", code)]
        if place.startswith("src/"):
            assert set(of_security) <= {"S106", "S608"}, place
        for code in of_security:
            section = text.partition(f'"{place}" = [')[2].partition("\n]")[0]
            assert re.search(rf'"{code}",\s+# \w', section), f"{place}: {code} says no reason"


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (imports_by_name, "import_module(row['module'])"),
        (imports_by_name, "importlib.import_module(f'{name}.tasks')"),
        (imports_by_name, "__import__(payload)"),
        (clauses_of_values, "db.find_entities('users', f'[email] = {email}')"),
        (clauses_of_values, "db.find_entities('users', where_clause=f\"[email] = '{email}'\", params=())"),
        (clauses_of_values, "db.execute('SELECT 1 FROM users WHERE email = ' + email)"),
        (clauses_of_values, "db.count_entities('users', '[email] = %s' % email)"),
        (clauses_of_values, "db.execute('DELETE FROM {}'.format(table))"),
        (clauses_of_values, "db.find_entities('users', f'[{field}] = ?{more}', (value,))"),
    ],
)
def test_a_rule_finds_what_breaks_it(rule: object, code: str) -> None:
    assert list(rule(ast.parse(code))) != []  # type: ignore[operator]


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (imports_by_name, "import_module('bcrypt')"),
        (imports_by_name, "import_module(f'app_kernel.db.drivers.{name}')"),
        (clauses_of_values, "db.find_entities('users', f'[{field}] = ?', (value,), order_by=f'[{field}]')"),
        (clauses_of_values, "db.count_entities(f'{entity}_history', '[id] = ?', (id,))"),
        (clauses_of_values, "db.execute(f'{_RETRY} RETURNING [id]', (id,))"),
        (clauses_of_values, "db.count_entities('users', f'[gone] IS {\"NOT \" if gone else \"\"}NULL')"),
    ],
)
def test_a_rule_lets_good_code_pass(rule: object, code: str) -> None:
    assert list(rule(ast.parse(code))) == []  # type: ignore[operator]


def test_an_exception_without_a_reason_is_found() -> None:
    assert list(unexplained("x = f'SELECT {a}'  # noqa: S608\n")) == ["S608"]
    assert list(unexplained("x = 1  # noqa: PLC0415, S105")) == ["PLC0415, S105"]
    assert list(unexplained("x = f'SELECT {a}'  # noqa: S608 - names only\nimport y  # noqa: PLC0415\n")) == []
