"""The project modules that a Python script imports, found without running anything.

Followed: `import a.b`, `from a import b` (relative too), also inside functions, and `import_module("a.b")` or
`__import__("a.b")` with a literal. Not followed: `if TYPE_CHECKING:` blocks, names made at run time, and modules
that are not in the project.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ducttape.syntax.diagnostics import Diagnostic, TapeError
from ducttape.syntax.source import Span


def project_root(folder: Path) -> Path | None:
    """The nearest folder at or above `folder` that has a pyproject.toml."""
    for candidate in (folder, *folder.parents):
        if (candidate / "pyproject.toml").is_file():
            return candidate
    return None


def closure(script: Path, extra_roots: list[Path], span: Span | None = None) -> dict[str, Path]:
    """Every file that `script` needs of its project, as path in a snapshot -> file; the script comes first, at the top.

    Modules are looked up in the script's folder, `extra_roots`, PROJECT/src and PROJECT. Raises `TapeError` for a
    file that is not Python.
    """
    folder = script.parent
    project = project_root(folder)
    roots = [folder, *extra_roots, *([project / "src", project] if project else [])]
    finder = _Finder(list(dict.fromkeys(roots)))
    found: dict[str, Path] = {script.name: script}
    queue = [(script, "")]
    while queue:
        file, package = queue.pop()
        for module in _imports(file, package, span):
            for name, path in finder.files(module):
                if name not in found:
                    found[name] = path
                    inside = name.removesuffix(".py").replace("/", ".")
                    is_package = inside.endswith(".__init__")
                    queue.append((path, inside.rpartition(".")[0] if "." in inside or is_package else ""))
    return found


class _Finder:
    """Resolves dotted names to files under the roots, as Python would: the first root that has the top name wins."""

    def __init__(self, roots: list[Path]):
        self._roots = roots
        self._tops: dict[str, list[Path]] = {}

    def files(self, module: str) -> list[tuple[str, Path]]:
        """The packages above `module` and the module itself, as (path in the snapshot, file); empty when not
        the project's.
        """
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


def _imports(file: Path, package: str, span: Span | None) -> Iterator[str]:
    """The dotted names that `file` imports; `package` is the package it lies in, for relative imports."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as e:
        line = f":{e.lineno}" if isinstance(e, SyntaxError) else ""
        problem = f"{file}{line}: not valid Python ({getattr(e, 'msg', e)}), so its imports cannot be followed"
        raise TapeError(Diagnostic(problem, span, hint=f"check it with: python -m py_compile {file}")) from e
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if package else []
                base = ".".join([*above, *([base] if base else [])])
            if base:
                yield base
                # `from a import b` may name a module or a value; a value simply resolves to no further file.
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str) and not first.value.startswith("."):
                    yield first.value
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            stack.extend(node.orelse)
        else:
            stack.extend(ast.iter_child_nodes(node))


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )
