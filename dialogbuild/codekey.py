"""Which code a stage runs: the modules its file leads to, each with a digest that comments do not change.

The import graph is read from the source (``ast``), imports inside functions included, nothing is executed. A module's
digest covers its syntax tree without docstrings, comments, layout, type-checking blocks and descriptions of settings,
written down in a way that does not depend on the version of Python. Files of the package that a module names
(``"core.npz"``, a script that it starts) count as well.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# They carry stages and compute nothing in them; a list of stages or a release number changes no result either.
_LEFT_OUT = frozenset({"", ".artifact", ".config", ".errors", ".stages"})
_PACKAGE = __name__.partition(".")[0]
_UNREAD_FIELDS = {"ctx", "kind", "type_comment", "type_ignores"}


@dataclass(frozen=True)
class _Module:
    digest: str
    imports: frozenset[str]  # candidates: a name imported from a module may be a module itself
    names: frozenset[str]  # texts that may be the name of a file


class CodeBase:
    """The source files of some packages, each read at most once.

    Args:
        roots: top-level name -> the package's folder, or the file of a module that is no package.
        left_out: modules that no digest covers and that are not followed.
    """

    def __init__(self, roots: Mapping[str, Path], left_out: frozenset[str] = frozenset()) -> None:
        self._roots = dict(roots)
        self._left_out = left_out
        self._paths: dict[str, Path | None] = {}
        self._modules: dict[Path, _Module] = {}
        self._files: dict[str, list[tuple[str, Path]]] | None = None

    def digests(self, module: str) -> dict[str, str]:
        """Module (or ``package/file``) -> 16 hex digits, for all that ``module`` leads to and itself.

        Empty where its source is not there (compiled files only, a zip file).
        """
        if self._find(module) is None:
            return {}
        found: dict[str, str] = {}
        waiting = [module]
        with _no_garbage_collection():
            while waiting:
                name = waiting.pop()
                path = self._find(name)
                if path is None or name in found or name in self._left_out:
                    continue
                read = self._read(path)
                found[name] = read.digest
                waiting += [part for target in read.imports for part in _with_parents(target) if part not in found]
                for label, file in self._named(name, read.names):
                    if file.suffix == ".py":
                        waiting.append(label)
                    else:
                        found[label] = _bytes_digest(file)
        return dict(sorted(found.items()))

    def _find(self, module: str) -> Path | None:
        if module not in self._paths:
            self._paths[module] = self._look_for(module)
        return self._paths[module]

    def _look_for(self, module: str) -> Path | None:
        top, _, rest = module.partition(".")
        root = self._roots.get(top)
        if root is None:
            return None
        if root.is_file():
            return root if not rest else None
        base = root.joinpath(*rest.split(".")) if rest else root
        for path in (base / "__init__.py", base.with_name(base.name + ".py")):
            if path.is_file() and (rest or path.parent == root):
                return path
        return None

    def _read(self, path: Path) -> _Module:
        if path not in self._modules:
            self._modules[path] = _parse(path, self._package_of(path))
        return self._modules[path]

    def _package_of(self, path: Path) -> str:
        for top, root in self._roots.items():
            if path.is_relative_to(root) and root.is_dir():
                return ".".join((top, *path.parent.relative_to(root).parts))
        return ""

    def _named(self, module: str, names: frozenset[str]) -> list[tuple[str, Path]]:
        """Files of the module's package whose name is one of these texts; Python files by their module name."""
        if self._files is None:
            self._files = {}
            for top, root in self._roots.items():
                for path in sorted(root.rglob("*.*")) if root.is_dir() else []:
                    if "__pycache__" in path.parts or path.name == "__init__.py" or not path.is_file():
                        continue
                    inside = path.relative_to(root)
                    label = f"{top}/{inside.as_posix()}"
                    if path.suffix == ".py":
                        label = ".".join((top, *inside.with_suffix("").parts))
                    self._files.setdefault(path.name, []).append((label, path))
        top = module.partition(".")[0]
        found = [entry for name in names for entry in self._files.get(name, ())]
        return [(label, path) for label, path in found if path.is_relative_to(self._roots[top])]


def stage_code(module: str) -> dict[str, str]:
    """What a stage's module runs of dialogbuild and of the module's own package: name -> digest; see ``CodeBase``."""
    top = module.partition(".")[0]
    if top == _PACKAGE:
        return _own_code().digests(module)
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None:
        return {}
    theirs = Path(file).parent if Path(file).name == "__init__.py" else Path(file)
    return CodeBase({_PACKAGE: Path(__file__).parent, top: theirs}, _left_out()).digests(module)


@cache
def _own_code() -> CodeBase:
    return CodeBase({_PACKAGE: Path(__file__).parent}, _left_out())


def _left_out() -> frozenset[str]:
    return frozenset(_PACKAGE + name for name in _LEFT_OUT)


def code_digest(digests: Mapping[str, str]) -> str:
    """One digest of all of them, 20 hex digits; empty where nothing is known of the code."""
    if not digests:
        return ""
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()[:20]


def normalised(source: bytes) -> str:
    """A module's syntax tree as text: equal for sources that differ in comments, docstrings and layout only.

    Raises:
        SyntaxError: this is no Python.
    """
    reading = _Reading("")
    reading.write(ast.parse(source))
    return "\0".join(reading.words)


def _parse(path: Path, package: str) -> _Module:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return _Module(_bytes_digest(path), frozenset(), frozenset())
    reading = _Reading(package)
    reading.write(tree)
    digest = hashlib.sha256("\0".join(reading.words).encode()).hexdigest()[:16]
    return _Module(digest, frozenset(reading.imports), frozenset(reading.names))


class _Reading:
    """A syntax tree written as words, and what it imports and names."""

    def __init__(self, package: str) -> None:
        self._package = package
        self.words: list[str] = []
        self.imports: set[str] = set()
        self.names: set[str] = set()

    def write(self, node: ast.AST) -> None:
        """Fields by name, empty ones left out, so that those of newer versions of Python do not show."""
        if _for_type_checkers(node):
            for other in node.orelse:  # type: ignore[attr-defined]
                self.write(other)
            return
        self._note(node)
        self.words.append(type(node).__name__)
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None or value == [] or field in _UNREAD_FIELDS:
                continue
            if field == "body" and isinstance(value, list):
                value = _without_docstring(node, value)
            elif field == "keywords" and isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Field":
                value = [keyword for keyword in value if keyword.arg != "description"]
            elif field == "values" and isinstance(node, ast.JoinedStr):
                value = [entry for entry in value if getattr(entry, "value", None) != ""]  # Python 3.12 adds empty ones
            self.words.append(field)
            for entry in value if isinstance(value, list) else [value]:
                if isinstance(entry, ast.AST):
                    self.write(entry)
                else:
                    self.words.append(ascii(entry))
            self.words.append("]")
        self.words.append(")")

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                self.names.add(node.value.rpartition("/")[2])
        elif isinstance(node, ast.Import):
            self.imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(self._package, node)
            self.imports.update((base, *(f"{base}.{alias.name}" for alias in node.names)))


def _absolute(package: str, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts = package.split(".")
    return ".".join((*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])))


def _for_type_checkers(node: ast.AST) -> bool:
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return (test.id if isinstance(test, ast.Name) else getattr(test, "attr", "")) == "TYPE_CHECKING"


def _without_docstring(node: ast.AST, body: list[ast.stmt]) -> list[ast.stmt]:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return body
    first = body[0]
    is_doc = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_doc else body


def _with_parents(module: str) -> Iterator[str]:
    """A module and the packages above it, whose ``__init__`` runs as well."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def _bytes_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Syntax trees are many small objects without loops: collecting meanwhile takes longer than reading them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
