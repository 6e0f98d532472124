"""The rules of the house that a machine can keep, and for each rule a piece of code that must break it."""

import ast
import importlib
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import grimp
import pytest
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: TID251 - to recognise it

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "app_kernel"
TESTS = ROOT / "tests"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
NOT_FEATURES = {
    "admin_worker", "cli", "core", "db", "encryption", "features", "logs", "redis_connection", "redis_wire", "service",
    "testing",
}  # fmt: skip
# What cuts across the source tree has a folder of its own under tests/.
CROSS_CUTTING = {
    "benchmarks",
    "conformance",
    "examples",
    "faults",
    "flows",
    "fuzzing",
    "integration",
    "packaging",
    "security",
    "tools",
    "typing",
}
BANNED_MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve"}
BANNED_CALLS = {"eval", "exec"}
ASSERTING = re.compile(r"_*(assert|check|expect)_")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Finding = tuple[int, str]
Rule = Callable[[ast.Module], Iterator[Finding]]


# One process reads the tree, once.
pytestmark = pytest.mark.xdist_group("architecture")


@pytest.fixture(scope="module", autouse=True)
def read_tree() -> Iterator[None]:
    yield
    modules.cache_clear()


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="there is one process")
def test_tests_of_one_group_run_in_one_process(request: pytest.FixtureRequest) -> None:
    # pytest-xdist goes by the end of the id alone, and says nothing where it could not write it.
    if request.config.getoption("loadgroup"):
        assert request.node.nodeid.endswith("@architecture")


@cache
def modules(folder: Path) -> dict[str, ast.Module]:
    """Every Python file under a folder, parsed, by its path from the root of the repository."""
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in sorted(folder.rglob("*.py"))}


def found(rule: Rule, trees: dict[str, ast.Module]) -> list[str]:
    return [f"{path}:{line} {what}" for path, tree in trees.items() for line, what in rule(tree)]


def imported(tree: ast.Module) -> Iterator[Finding]:
    """Each imported name in full ("os.environ" for `from os import environ`) with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def calls(node: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Each call under a node with the last part of what is called."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            target = inner.func
            yield inner, target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")


# Rules over one file: they yield the line and what is wrong there.


def long_functions(tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if isinstance(node, Function) and (length := node.end_lineno - node.lineno + 1) > MAX_FUNCTION_LINES:
            yield node.lineno, f"{node.name} has {length} lines"


def environment_reads(tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}:
            yield node.lineno, f"reads the environment ({node.attr})"
    for line, name in imported(tree):
        if name in {"os.environ", "os.environb", "os.getenv"} or name.split(".")[0] == "dotenv":
            yield line, f"reads the environment ({name})"


def swallowed_errors(tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else ""
        body = [statement for statement in node.body if not is_text(statement)]
        if not caught:
            yield node.lineno, "bare except"
        elif re.search(r"\b(Base)?Exception\b", caught) and all(
            isinstance(line, ast.Pass | ast.Continue) for line in body
        ):
            yield node.lineno, f"except {caught} that does nothing"
    for call, name in calls(tree):
        if name == "suppress" and any(ast.unparse(each) in {"Exception", "BaseException"} for each in call.args):
            yield call.lineno, "suppresses every exception"


def is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a mere string or `...`."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def code_from_data(tree: ast.Module) -> Iterator[Finding]:
    for line, name in imported(tree):
        if name.split(".")[0] in BANNED_MODULES:
            yield line, f"imports {name}"
    for call, name in calls(tree):
        if name in BANNED_CALLS and isinstance(call.func, ast.Name):
            yield call.lineno, f"calls {name}()"
        if any(word.arg == "shell" and not is_false(word.value) for word in call.keywords) or name == "system":
            yield call.lineno, "runs a shell"


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def base_http_middleware(tree: ast.Module) -> Iterator[Finding]:
    for line, name in imported(tree):
        if name.startswith("starlette.middleware.base") or name.endswith("BaseHTTPMiddleware"):
            yield line, f"imports {name}"
    for call, name in calls(tree):
        if name == "middleware" and any(getattr(each, "value", None) == "http" for each in call.args):
            yield call.lineno, '@app.middleware("http") is a BaseHTTPMiddleware'


def missing_docstrings(tree: ast.Module) -> Iterator[Finding]:
    if not ast.get_docstring(tree):
        yield 1, "the module has no docstring"
    for node in tree.body:
        is_public = isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")
        if is_public and not ast.get_docstring(node) and not is_overload(node):
            yield node.lineno, f"{node.name} has no docstring"


def is_overload(node: Function | ast.ClassDef) -> bool:
    return any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)


def idle_tests(tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if isinstance(node, Function) and node.name.startswith("test_") and not asserts(node):
            yield node.lineno, f"{node.name} asserts nothing"


def asserts(test: Function) -> bool:
    if any(isinstance(node, ast.Assert) for node in ast.walk(test)):
        return True
    return any(name in {"raises", "warns", "fail"} or ASSERTING.match(name) for _, name in calls(test))


# Rules over the whole.


def long_files(lines: dict[str, int]) -> list[str]:
    return [f"{path} has {count} lines" for path, count in lines.items() if count > MAX_FILE_LINES]


def feature_of(module: str) -> str | None:
    """The feature that a module belongs to; None for the contract, the engines and the composition."""
    top = module.split(".")[1] if "." in module else None
    return None if top is None or top in NOT_FEATURES or top.startswith("_") else top


def imports_between_features(edges: Iterable[tuple[str, str]]) -> list[str]:
    pairs = ((importer, target, feature_of(importer), feature_of(target)) for importer, target in edges)
    return [f"{importer} imports {target}" for importer, target, own, other in pairs if own and other and own != other]


def unlisted_features(trees: dict[str, ast.Module], listed: set[str]) -> list[str]:
    """Files that define create_feature but whose feature is not in FEATURES; `listed` has names such as "auth"."""
    makers = {
        path: Path(path).parent.name if Path(path).name == "feature.py" else Path(path).stem
        for path, tree in trees.items()
        if any(isinstance(node, Function) and node.name == "create_feature" for node in tree.body)
    }
    return [path for path, name in makers.items() if name not in listed]


def layers_of(stack: object) -> Iterator[object]:
    """A built ASGI stack from the outside in."""
    while stack is not None:
        yield stack
        stack = getattr(stack, "app", None)


def slow_layers(stack: object) -> list[str]:
    return [type(layer).__name__ for layer in layers_of(stack) if isinstance(layer, BaseHTTPMiddleware)]


def unmirrored(test_files: Iterable[Path], source_names: set[str]) -> list[str]:
    """Test files in a folder that is neither one of the source tree's nor a cross-cutting one."""
    allowed = source_names | CROSS_CUTTING
    return [str(path) for path in test_files if len(path.parts) > 1 and path.parts[0] not in allowed]


def addresses(text: str) -> list[str]:
    """Lines of a requirements file that would tie an installation to one registry or machine."""
    return [line for line in text.splitlines() if re.search(r"://|--(extra-)?index|--find-links|^\s*/| @ ", line)]


@pytest.fixture(scope="module")
def source() -> dict[str, ast.Module]:
    return modules(SOURCE)


@pytest.mark.parametrize("rule", [long_functions, swallowed_errors, code_from_data, base_http_middleware])
def test_source_keeps_the_rule(rule, source):
    assert found(rule, source) == []


def test_every_public_function_class_and_module_says_what_it_does(source):
    public = {path: tree for path, tree in source.items() if not Path(path).stem.startswith("_") or "__init__" in path}
    assert found(missing_docstrings, public) == []


def test_only_the_configuration_reads_the_environment(source):
    others = {path: tree for path, tree in source.items() if path != "src/app_kernel/core/config.py"}
    assert found(environment_reads, others) == []


def test_no_file_is_too_long():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    assert long_files(lines) == []


def test_no_feature_imports_another():
    graph = grimp.build_graph("app_kernel", cache_dir=None)
    edges = [(name, target) for name in graph.modules for target in graph.find_modules_directly_imported_by(name)]
    assert edges
    assert imports_between_features(edges) == []


def test_every_feature_is_in_the_list(source):
    listed = importlib.import_module("app_kernel.features").FEATURES
    assert unlisted_features(source, {feature_of(factory.__module__) for factory in listed}) == []


def test_the_built_stack_is_pure_asgi():
    kernel = importlib.import_module("app_kernel")
    config = kernel.ServiceConfig(jwt_secret="s" * 32, database_name="sqlite:///:memory:")
    app = kernel.create_service("architecture", config=config)
    stack = app.build_middleware_stack()
    assert len(list(layers_of(stack))) > 3
    assert slow_layers(stack) == []


def test_every_test_asserts_something():
    assert found(idle_tests, modules(TESTS)) == []


def test_tests_lie_where_their_source_lies():
    names = {path.stem for path in SOURCE.iterdir()}
    assert unmirrored([path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")], names) == []


def test_pinned_requirements_name_no_address():
    files = list((ROOT / "requirements").glob("*.txt"))
    assert files
    assert [line for file in files for line in addresses(file.read_text())] == []


BROKEN = [
    (long_functions, "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES),
    (environment_reads, "import os\nx = os.environ['A']"),
    (environment_reads, "from os import getenv"),
    (environment_reads, "import dotenv"),
    (swallowed_errors, "try: f()\nexcept: raise"),
    (swallowed_errors, "try: f()\nexcept Exception: pass"),
    (swallowed_errors, "try: f()\nexcept (OSError, BaseException):\n    ..."),
    (swallowed_errors, "for x in y:\n  try: f()\n  except Exception: continue"),
    (swallowed_errors, "with suppress(Exception): f()"),
    (code_from_data, "import pickle"),
    (code_from_data, "from marshal import loads"),
    (code_from_data, "eval('1')"),
    (code_from_data, "subprocess.run('ls', shell=True)"),
    (code_from_data, "subprocess.run('ls', shell=flag)"),
    (code_from_data, "os.system('ls')"),
    (base_http_middleware, "from starlette.middleware.base import BaseHTTPMiddleware"),
    (base_http_middleware, "import starlette.middleware.base"),
    (base_http_middleware, "@app.middleware('http')\nasync def f(request, call_next): ..."),
    (missing_docstrings, "x = 1"),
    (missing_docstrings, "'''What is true.'''\ndef f(): pass"),
    (missing_docstrings, "'''What is true.'''\nclass A: pass"),
    (idle_tests, "def test_a(): f()"),
    (idle_tests, "class A:\n    async def test_a(self): await f()"),
]

KEPT = [
    (long_functions, "def f():\n" + "    x = 1\n" * (MAX_FUNCTION_LINES - 1)),
    (environment_reads, "import os\nos.getpid()"),
    (swallowed_errors, "try: f()\nexcept Exception: log.exception('x')"),
    (swallowed_errors, "with suppress(OSError): f()"),
    (code_from_data, "subprocess.run(['ls'], shell=False)\nregex.exec(x)"),
    (missing_docstrings, "'''What is true.'''\ndef _f(): pass\n@overload\ndef g(): ..."),
    (idle_tests, "def test_a():\n    with pytest.raises(E): f()\ndef test_b(): check_all(x)"),
]


@pytest.mark.parametrize(("rule", "code"), BROKEN)
def test_a_rule_finds_what_breaks_it(rule, code):
    assert list(rule(ast.parse(textwrap.dedent(code)))) != []


@pytest.mark.parametrize(("rule", "code"), KEPT)
def test_a_rule_lets_good_code_pass(rule, code):
    assert list(rule(ast.parse(textwrap.dedent(code)))) == []


def test_rules_over_the_whole_find_what_breaks_them():
    maker = ast.parse("def create_feature(config): ...")
    assert long_files({"a.py": MAX_FILE_LINES, "b.py": MAX_FILE_LINES + 1}) == ["b.py has 401 lines"]
    assert imports_between_features([("app_kernel.flags.routes", "app_kernel.saas")]) == [
        "app_kernel.flags.routes imports app_kernel.saas"
    ]
    assert imports_between_features([("app_kernel.flags", "app_kernel.core"), ("app_kernel", "app_kernel.flags")]) == []
    assert unlisted_features({"src/flags/feature.py": maker, "src/cors.py": maker}, {"cors"}) == [
        "src/flags/feature.py"
    ]
    assert unmirrored([Path("test_a.py"), Path("db/test_b.py"), Path("misc/test_c.py")], {"db"}) == ["misc/test_c.py"]


def test_a_slow_layer_is_found_wherever_it_is():
    async def app(scope, receive, send): ...

    slow = Middleware(BaseHTTPMiddleware, dispatch=None)
    inner = slow.cls(app, *slow.args, **slow.kwargs)
    assert slow_layers(type("Outer", (), {"app": inner})()) == ["BaseHTTPMiddleware"]


@pytest.mark.parametrize(
    "line",
    ["--index-url https://example.org/simple", "--find-links wheels", "/srv/a.whl", "a @ file:a.whl"],
)
def test_an_address_in_pinned_requirements_is_found(line):
    assert addresses(f"fastapi==1.0\n{line}\n") == [line]
