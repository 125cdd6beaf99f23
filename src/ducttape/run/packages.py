"""Packages: the code behind a task, versioned by its content and built once per version.

    versioner  version                                          directory that the task's variable names
    python     digest of .script=FILE and of all it imports     a snapshot of exactly those files
    disk       tree digest of .path=DIRECTORY                   a copy of the directory, then the build commands
    git        .ref of .repo (the commit, for HEAD)             a clone with submodules, then the build commands

A version lies in `.packages/NAME/VERSION/`. It is made under another name and renamed when it is whole, so a directory
there is always usable. A package's own params and build commands are part of its version.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from ducttape.plan.tasks import PackageDefinition, Plan
from ducttape.run.imports import ImportMemory, closure
from ducttape.run.local import environment, script
from ducttape.store.commands import normalize
from ducttape.store.digest import DigestCache, digest_bytes
from ducttape.store.layout import Layout, component
from ducttape.store.record import write_atomically
from ducttape.syntax.diagnostics import Diagnostic, TapeError, did_you_mean

MANIFEST = "ducttape_package.json"
_LENGTH = 32


@dataclass(slots=True)
class Package:
    """One package at its present version. `files` maps names inside to content digests, where they are known."""

    definition: PackageDefinition
    version: str
    directory: Path
    files: dict[str, str] = field(default_factory=dict)
    sources: dict[str, Path] = field(default_factory=dict)

    @property
    def built(self) -> bool:
        return self.directory.is_dir()


class Packages:
    """All packages that a plan mentions, each with its present version; nothing is built yet."""

    def __init__(self, plan: Plan, layout: Layout, cache: DigestCache, auto_update: bool = False):
        self._layout, self._cache, self._auto_update = layout, cache, auto_update
        self._imports = ImportMemory(cache, layout.digests)
        wanted = dict.fromkeys(name for task in plan.tasks.values() for name in task.packages)
        self.all: dict[str, Package] = {}
        for name in wanted:
            if name not in plan.packages:
                raise TapeError(Diagnostic(f"unknown package '{name}'", hint=did_you_mean(name, plan.packages)))
            self.all[name] = self._resolve(plan.packages[name])
        self._imports.flush()

    @property
    def versions(self) -> dict[str, str]:
        return {name: package.version for name, package in self.all.items()}

    @property
    def directories(self) -> dict[str, Path]:
        return {name: package.directory for name, package in self.all.items()}

    def change(self, name: str, old: str, new: str) -> str:
        """What differs between two versions of a package, naming files; empty when it is not known."""
        package = self.all.get(name)
        if package is None or not package.files:
            return ""
        try:
            manifest = self._layout.packages / component(name) / component(old) / MANIFEST
            before = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        changed = [f for f in sorted({*before, *package.files}) if before.get(f) != package.files.get(f)]
        return ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")

    def build(self, name: str) -> None:
        """Make the directory of a package's present version; raises `TapeError` when that fails."""
        package = self.all[name]
        if package.built:
            return
        final = package.directory
        work = final.with_name(f".{final.name}.{secrets.token_hex(4)}")
        work.mkdir(parents=True)
        try:
            self._check_out(package, work)
            if package.definition.body.strip():
                self._run_build(package, work)
            manifest = {"versioner": package.definition.versioner, "version": package.version, "files": package.files}
            write_atomically(work / MANIFEST, json.dumps(manifest, indent=1) + "\n")
            try:
                os.rename(work, final)
            except OSError:
                # Another controller was faster; its directory has the same content.
                if not final.is_dir():
                    raise
            write_atomically(final.parent / "HEAD", package.version + "\n")
        finally:
            shutil.rmtree(work, ignore_errors=True)

    # --- versions -----------------------------------------------------------------------------------------------

    def _resolve(self, definition: PackageDefinition) -> Package:
        resolver = {"python": self._python, "disk": self._disk, "git": self._git}.get(definition.versioner)
        if resolver is None:
            hint = did_you_mean(definition.versioner, ["python", "disk", "git"])
            problem = f"package {definition.name}: unknown versioner '{definition.versioner}'"
            raise TapeError(Diagnostic(problem, definition.span, hint=hint))
        version, files, sources = resolver(definition)
        extra = [f"{p.name}={p.value}" for p in definition.params] + list(normalize(definition.body))
        if extra:
            version += "-" + digest_bytes("\0".join(extra).encode("utf-8", "surrogateescape"))[:8]
        directory = self._layout.packages / component(definition.name) / component(version)
        return Package(definition, version, directory, files, sources)

    def _python(self, definition: PackageDefinition) -> tuple[str, dict[str, str], dict[str, Path]]:
        folder, text, span = _param(definition, "script")
        path = Path(os.path.abspath(folder / os.path.expanduser(text)))
        if not path.is_file():
            hint = f"the path is relative to {folder}, where the package is declared"
            raise TapeError(Diagnostic(f"package {definition.name}: no script {path}", span, hint=hint))
        roots = []
        if any(p.name == "roots" for p in definition.versioner_params):
            folder, text, _ = _param(definition, "roots")
            roots = [Path(os.path.abspath(folder / os.path.expanduser(r))) for r in text.split()]
        sources = closure(path, roots, span, self._imports)
        files = {name: self._cache.path(source) or "" for name, source in sorted(sources.items())}
        text = "".join(f"{name}\0{digest}\0" for name, digest in files.items())
        return digest_bytes(f"python\0{path.name}\0{text}".encode())[:_LENGTH], files, sources

    def _disk(self, definition: PackageDefinition) -> tuple[str, dict[str, str], dict[str, Path]]:
        folder, text, span = _param(definition, "path")
        path = Path(os.path.abspath(folder / os.path.expanduser(text)))
        if not path.is_dir():
            hint = f"the path is relative to {folder}, where the package is declared"
            raise TapeError(Diagnostic(f"package {definition.name}: no directory {path}", span, hint=hint))
        return self._cache.path(path)[:_LENGTH], {}, {".": path}

    def _git(self, definition: PackageDefinition) -> tuple[str, dict[str, str], dict[str, Path]]:
        _, ref, _ = _param(definition, "ref")
        if ref != "HEAD":
            return ref, {}, {}
        head = self._layout.packages / component(definition.name) / "HEAD"
        if head.is_file() and not self._auto_update:
            # Without auto-update a package stays at the commit it was built from, and no network is asked.
            known = head.read_text(encoding="utf-8").strip()
            return known.split("-")[0], {}, {}
        folder, repo, span = _param(definition, "repo")
        answer = self._call(definition, span, ["git", "ls-remote", "--", _repo(folder, repo), "HEAD"], None)
        commit = answer.split()[0] if answer.split() else ""
        if not commit:
            raise TapeError(Diagnostic(f"package {definition.name}: {repo} has no HEAD", span))
        return commit, {}, {}

    # --- building -----------------------------------------------------------------------------------------------

    def _check_out(self, package: Package, work: Path) -> None:
        definition = package.definition
        if definition.versioner == "python":
            for name, source in package.sources.items():
                target = work / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            changed = [n for n, digest in package.files.items() if digest_bytes((work / n).read_bytes()) != digest]
            if changed:
                problem = f"package {definition.name}: {changed[0]} changed while it was copied"
                raise TapeError(Diagnostic(problem, definition.span, hint="run the same command again"))
        elif definition.versioner == "disk":
            source, base = package.sources["."], str(self._layout.base)
            shutil.copytree(
                source,
                work,
                symlinks=True,
                dirs_exist_ok=True,
                ignore=lambda folder, names: [n for n in names if n == ".git" or os.path.join(folder, n) == base],
            )
        else:
            folder, repo, span = _param(definition, "repo")
            _, ref, _ = _param(definition, "ref")
            commit = package.version.split("-")[0] if ref == "HEAD" else ref
            self._call(definition, span, ["git", "clone", "--quiet", "--", _repo(folder, repo), str(work)], None)
            self._call(definition, span, ["git", "checkout", "--quiet", commit], work)
            update = ["git", "submodule", "--quiet", "update", "--init", "--recursive"]
            self._call(definition, span, update, work)

    def _run_build(self, package: Package, work: Path) -> None:
        definition = package.definition
        env = environment({p.name: p.value for p in definition.params}, {})
        with open(work / "build_stdout.txt", "wb") as out, open(work / "build_stderr.txt", "wb") as err:
            data = script(definition.body).encode("utf-8", "surrogateescape")
            code = subprocess.run(["bash"], input=data, stdout=out, stderr=err, cwd=work, env=env).returncode
        (work / "build_exit_code.txt").write_text(str(code), encoding="utf-8")
        if code:
            failed = self._layout.packages / component(definition.name) / "failed"
            shutil.rmtree(failed, ignore_errors=True)
            os.rename(work, failed)
            problem = f"package {definition.name}: its build commands ended with exit code {code}"
            raise TapeError(Diagnostic(problem, definition.span, hint=f"see {failed / 'build_stderr.txt'}"))

    def _call(self, definition: PackageDefinition, span, command: list[str], folder: Path | None) -> str:
        env = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        try:
            ended = subprocess.run(
                command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
        except FileNotFoundError as e:
            problem = f"package {definition.name}: git is not installed"
            raise TapeError(Diagnostic(problem, span, hint="install git, or use the versioner disk")) from e
        if ended.returncode:
            said = ended.stderr.strip().splitlines()
            problem = f"package {definition.name}: '{' '.join(command[:2])}' failed" + (f": {said[-1]}" if said else "")
            raise TapeError(Diagnostic(problem, span))
        return ended.stdout


def _param(definition: PackageDefinition, name: str):
    """(folder of the declaring file, value, span) of a versioner's param."""
    for param in definition.versioner_params:
        if param.name == name:
            return param.span.source.directory, param.value, param.span
    problem = f"package {definition.name}: its versioner '{definition.versioner}' needs .{name}"
    raise TapeError(Diagnostic(problem, definition.span, hint=f"add .{name}=... to its params"))


def _repo(folder: Path, repo: str) -> str:
    """A local repository is relative to the declaring file; anything else is an address."""
    local = folder / os.path.expanduser(repo)
    return str(local) if "://" not in repo and local.is_dir() else repo
