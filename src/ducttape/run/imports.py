"""The project modules that a Python script imports, found without running anything.

Followed: `import a.b`, `from a import b` (relative too), also inside functions, and `import_module("a.b")` or
`__import__("a.b")` with a literal. Not followed: `if TYPE_CHECKING:` blocks, names made at run time, and modules
that are not in the project.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ducttape.store.digest import DigestCache, digest_bytes
from ducttape.store.record import write_atomically
from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.syntax.source import Span


def project_root(folder: Path) -> Path | None:
    """The nearest folder at or above `folder` that has a pyproject.toml."""
    for candidate in (folder, *folder.parents):
        if (candidate / "pyproject.toml").is_file():
            return candidate
    return None


# (level, module, names): `import a.b` is (0, "a.b", []), `from ..a import b` is (2, "a", ["b"]).
Imported = tuple[int, str, list[str]]


class ImportMemory:
    """What every file imports, remembered by its content, because parsing is slower than digesting.

    Within one object a file is looked at once: it stands for one instant of the project.
    """

    def __init__(self, cache: DigestCache, folder: Path | None = None):
        self._cache = cache
        self._file = folder / "imports.json" if folder else None
        self._known: dict[str, list[Imported]] | None = None
        self._changed = False
        self._seen: dict[Path, list[Imported]] = {}
        self._finders: dict[tuple[Path, ...], _Finder] = {}

    def of(self, path: Path, span: Span | None) -> list[Imported]:
        if path in self._seen:
            return self._seen[path]
        self._seen[path] = found = self._look_up(path, span)
        return found

    def finder(self, roots: list[Path]) -> _Finder:
        return self._finders.setdefault(tuple(roots), _Finder(roots))

    def _look_up(self, path: Path, span: Span | None) -> list[Imported]:
        known = self._load()
        digest = self._cache.path(path)
        if digest in known:
            return known[digest]
        text = path.read_bytes()
        try:
            found = parse_imports(text)
        except (SyntaxError, ValueError) as e:
            line = f":{e.lineno}" if isinstance(e, SyntaxError) else ""
            problem = f"{path}{line}: not valid Python ({getattr(e, 'msg', e)}), so its imports cannot be followed"
            raise TapeError(Diagnostic(problem, span, hint=f"check it with: python -m py_compile {path}")) from e
        known[digest_bytes(text)] = found
        self._changed = True
        return found

    def flush(self) -> None:
        """Write the memory where the base directory exists; without it the next run only parses again."""
        if not self._changed or self._file is None or not self._file.parent.parent.is_dir():
            return
        self._changed = False
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(exist_ok=True)
            write_atomically(self._file, json.dumps({"python": sys.version, "imports": self._known}))

    def _load(self) -> dict[str, list[Imported]]:
        if self._known is None:
            self._known = {}
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                data = json.loads(self._file.read_text(encoding="utf-8")) if self._file else {}
                if data.get("python") == sys.version:
                    self._known = dict(data["imports"])
        return self._known


def closure(
    script: Path, extra_roots: list[Path], span: Span | None = None, memory: ImportMemory | None = None
) -> dict[str, Path]:
    """Every file that `script` needs of its project, as path in a snapshot -> file; the script comes first, at the top.

    Modules are looked up in the script's folder, `extra_roots`, PROJECT/src and PROJECT. Raises `TapeError` for a file
    that is not Python.
    """
    memory = memory or ImportMemory(DigestCache(script.parent, None))
    folder = script.parent
    project = project_root(folder)
    roots = [folder, *extra_roots, *([project / "src", project] if project else [])]
    finder = memory.finder(list(dict.fromkeys(roots)))
    found: dict[str, Path] = {script.name: script}
    queue = [(script, "")]
    while queue:
        file, package = queue.pop()
        for module in _modules(memory.of(file, span), package):
            for name, path in finder.files(module):
                if name not in found:
                    found[name] = path
                    # `a/b.py` and `a/__init__.py` both lie in the package `a`.
                    queue.append((path, name.removesuffix(".py").replace("/", ".").rpartition(".")[0]))
    return found


class _Finder:
    """Resolves dotted names to files under the roots, as Python would: the first root that has the top name wins."""

    def __init__(self, roots: list[Path]):
        self._roots = roots
        self._tops: dict[str, list[Path]] = {}
        self._files: dict[str, list[tuple[str, Path]]] = {}

    def files(self, module: str) -> list[tuple[str, Path]]:
        """The packages above `module` and the module itself, as (path in the snapshot, file); empty when not
        the project's.
        """
        if module not in self._files:
            self._files[module] = self._find(module)
        return self._files[module]

    def _find(self, module: str) -> list[tuple[str, Path]]:
        parts = module.split(".")
        found: list[tuple[str, Path]] = []
        for root in self._top(parts[0]):
            for depth in range(1, len(parts) + 1):
                stem = "/".join(parts[:depth])
                if os.path.isfile(root / stem / "__init__.py"):
                    found.append((f"{stem}/__init__.py", root / stem / "__init__.py"))
                elif os.path.isfile(root / f"{stem}.py"):
                    found.append((f"{stem}.py", root / f"{stem}.py"))
                    break
                elif not os.path.isdir(root / stem):
                    break
        return found

    def _top(self, name: str) -> list[Path]:
        if name not in self._tops:
            self._tops[name] = list(self._search(name))
        return self._tops[name]

    def _search(self, name: str) -> Iterator[Path]:
        for i, root in enumerate(self._roots):
            # The standard library comes before everything but the script's own folder.
            if i and name in sys.stdlib_module_names:
                return
            if (root / name / "__init__.py").is_file() or (root / f"{name}.py").is_file():
                yield root
                return
            if (root / name).is_dir():
                # A namespace package may have parts under several roots.
                yield root


def parse_imports(text: bytes) -> list[Imported]:
    """All imports in the text of a module; raises SyntaxError or ValueError when it is not Python."""
    found: list[Imported] = []
    stack: list[ast.AST] = [ast.parse(text)]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            found += [(0, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", [alias.name for alias in node.names if alias.name != "*"]))
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith("."):
                    found.append((0, first.value, []))
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            stack.extend(node.orelse)
        else:
            stack.extend(ast.iter_child_nodes(node))
    return found


def _modules(imports: list[Imported], package: str) -> Iterator[str]:
    """The dotted names behind `imports` of a module that lies in `package`."""
    for level, base, names in imports:
        if level:
            above = package.split(".")[: len(package.split(".")) - level + 1] if package else []
            base = ".".join([*above, *([base] if base else [])])
        if base:
            yield base
            # `from a import b` may name a module or a value; a value simply resolves to no further file.
            yield from (f"{base}.{name}" for name in names)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )
