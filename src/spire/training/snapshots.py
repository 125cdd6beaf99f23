"""Checkpoints of a run on disk: written whole or not at all, verified before use, the newest sound one taken up.

Layout of a folder of checkpoints:

    step-00000400-1a2b3c4d/       after 400 updates of the run whose identity has this digest
        checkpoint.json           {"step", "identity", "seals": {"files-0.json": SHA-256}}; written last
        files-N.json              {name: [bytes, SHA-256]} of the files that process N wrote
        loop.json                 what the loop keeps (`loop.Run.state`)
        ...                       what the engine keeps (`Engine.save`)
    best-00000300-1a2b3c4d/       the same, without loop.json: the weights of the best evaluation

Guarantees: a directory has its name only when everything in it is on disk; one bit changed or one byte missing
anywhere makes a checkpoint unusable, and the one before it is taken; a checkpoint of other settings, another corpus or
another starting model is never used, and the reason is printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spire.errors import UserError
from spire.training.engine import Engine

_NAME = re.compile(r"(step|best)-(\d{8,})-([0-9a-f]{8})")
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Interval:
    """How often: every `steps` updates, or every `seconds` of wall time; neither: never."""

    steps: int = 0
    seconds: float = 0.0

    @staticmethod
    def parse(text: str) -> Interval:
        """ "500" are updates, "600s", "10m" and "2h" times, "0" is never. Raises UserError."""
        found = re.fullmatch(r"(\d+)([smh]?)", text)
        if not found:
            raise UserError(f"--checkpoint-every {text!r} is no interval", hint='write "500" (updates), "10m" or "0"')
        number, unit = int(found[1]), found[2]
        return Interval(seconds=number * {"s": 1, "m": 60, "h": 3600}[unit]) if unit else Interval(steps=number)


class Checkpoints:
    """The checkpoints of one run: `folder` is its own, `earlier` are those of earlier attempts (read only),
    `named` those that somebody asked for: there must be something to go on from.

    `identity()` gives what a checkpoint must have been made of (JSON values); it is asked for when first needed, as
    digests of large files take time. Processes of one run share `folder`.
    """

    def __init__(
        self,
        folder: str | Path,
        identity: Callable[[], dict],
        every: Interval,
        keep: int = 2,
        earlier: tuple[Path, ...] = (),
        named: tuple[Path, ...] = (),
        process: int = 0,
        processes: int = 1,
    ):
        if keep < 1:
            raise UserError(f"--keep-checkpoints is {keep}, must be at least 1")
        self.folder, self.every, self.keep = Path(folder), every, keep
        self.process, self.processes = process, processes
        self.earlier, self.named = earlier, named
        self._identity_of, self._known = identity, None
        self._saved_at = time.monotonic()

    def identity(self) -> dict:
        if self._known is None:
            # Through JSON, so that tuples and lists compare equal to what is read back.
            self._known = json.loads(json.dumps(self._identity_of()))
        return self._known

    def _name(self, kind: str, step: int) -> str:
        text = json.dumps(self.identity(), sort_keys=True)
        return f"{kind}-{step:08d}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def due(self, step: int) -> bool:
        """Whether a checkpoint should be written after `step` updates."""
        if self.every.steps:
            return step % self.every.steps == 0
        return bool(self.every.seconds) and time.monotonic() - self._saved_at >= self.every.seconds

    def save(self, engine: Engine, step: int, state: dict) -> None:
        """Write a checkpoint and delete the oldest ones of this run beyond `keep`. A full disk is reported, and
        training goes on.
        """
        if self._write(engine, self._name("step", step), step, state) and engine.is_main:
            mine = sorted(p for p in self.folder.glob(f"step-*-{self._name('step', step)[-8:]}"))
            for old in mine[: -self.keep]:
                shutil.rmtree(old, ignore_errors=True)
        self._saved_at = time.monotonic()

    def save_best(self, engine: Engine, step: int) -> None:
        """Write the state of the best evaluation so far; the one before it goes."""
        name = self._name("best", step)
        if self._write(engine, name, step, None) and engine.is_main:
            for old in self.folder.glob(f"best-*-{name[-8:]}"):
                if old.name != name:
                    shutil.rmtree(old, ignore_errors=True)

    def _write(self, engine: Engine, name: str, step: int, state: dict | None) -> bool:
        partial, failure = self.folder / f".{name}.partial", None
        if engine.is_main:
            shutil.rmtree(partial, ignore_errors=True)
            try:
                partial.mkdir(parents=True)
            except OSError as e:
                failure = e
        if engine.any(failure is not None):
            return self._gives_up(engine, partial, failure)
        try:
            names = engine.save(partial)
            if engine.is_main and state is not None:
                (partial / "loop.json").write_text(json.dumps(state), "utf-8")
                names = [*names, "loop.json"]
            _write_synced(partial / f"files-{self.process}.json", {n: _digest(partial / n, sync=True) for n in names})
        except OSError as e:
            failure = e
        if engine.any(failure is not None):
            return self._gives_up(engine, partial, failure)
        if engine.is_main:
            try:
                seals = {p.name: _digest(p)[1] for p in sorted(partial.glob("files-*.json"))}
                content = {"step": step, "identity": self.identity(), "seals": seals}
                _write_synced(partial / "checkpoint.json", content)
                shutil.rmtree(self.folder / name, ignore_errors=True)
                os.rename(partial, self.folder / name)
            except OSError as e:
                failure = e
        if engine.any(failure is not None):
            return self._gives_up(engine, partial, failure)
        return True

    def _gives_up(self, engine: Engine, partial: Path, failure: OSError | None) -> bool:
        if failure is not None:
            _say(f"warning: no checkpoint written: {failure}; training goes on")
        if engine.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        return False

    def resume(self, engine: Engine) -> dict | None:
        """Load the newest usable checkpoint into `engine` and return what the loop kept; None when there is none.

        Raises UserError when folders were named and nothing is usable anywhere.
        """
        if engine.is_main:
            for leftover in self.folder.glob(".*.partial"):
                shutil.rmtree(leftover, ignore_errors=True)
        places = dict.fromkeys((self.folder, *self.named, *self.earlier))
        found = [p for place in places for p in place.glob("step-*") if _NAME.fullmatch(p.name)]
        reasons = []
        for path in sorted(found, key=lambda p: int(_NAME.fullmatch(p.name)[2]), reverse=True):
            reason = self._refused(path) or _damage(path, self.process, self.processes)
            # Each process reads its share of the files, so the reason may be known to another one only.
            if engine.any(bool(reason)):
                reasons.append(reason or "damaged")
                if reason:
                    _say(f"not taken up: {path}: {reason}")
                continue
            engine.load(path)
            state = json.loads((path / "loop.json").read_text("utf-8"))
            if engine.is_main and path.parent != self.folder:
                self._adopt_best(path)
            engine.any(False)
            self._saved_at = time.monotonic()
            return state
        if self.named:
            raise UserError(
                f"nothing to go on from in {', '.join(map(str, self.named))}: {reasons[0] if reasons else 'empty'}",
                hint="leave --resume-from out to start anew, or give the settings, corpus and model of that run",
            )
        return None

    def _adopt_best(self, path: Path) -> None:
        """Copy the best weights that lie beside an earlier attempt's checkpoint into this attempt's own folder."""
        for best in path.parent.glob(f"best-*-{path.name[-8:]}"):
            into = self.folder / best.name
            if not into.exists() and not _damage(best):
                partial = self.folder / f".{best.name}.partial"
                shutil.copytree(best, partial)
                os.rename(partial, into)

    def load_best(self, engine: Engine, step: int) -> None:
        """Load what `save_best` wrote after `step` updates. Raises UserError when it is gone or damaged."""
        path = self.folder / self._name("best", step)
        reason = _damage(path, self.process, self.processes)
        if engine.any(bool(reason)):
            raise UserError(
                f"the best weights, of step {step}, cannot be read: {path}: {reason or 'damaged'}",
                hint="start the same command again: it goes on from the last checkpoint",
            )
        engine.load(path)

    def finished(self, engine: Engine) -> None:
        """The run is over and its model is in place: delete its checkpoints, and the folder when nothing else is in
        it.
        """
        if not engine.is_main or not self.folder.is_dir():
            return
        for path in self.folder.glob(f"*-{self._name('step', 0)[-8:]}"):
            shutil.rmtree(path, ignore_errors=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _refused(self, path: Path) -> str:
        """Why a checkpoint is not one of this run; "" when it is."""
        try:
            content = json.loads((path / "checkpoint.json").read_text("utf-8"))
            theirs, step = content["identity"], content["step"]
        except (OSError, ValueError, KeyError, TypeError) as e:
            return f"checkpoint.json cannot be read ({type(e).__name__})"
        if step != int(_NAME.fullmatch(path.name)[2]):
            return f"checkpoint.json says step {step!r}"
        differences = _differences(theirs, self.identity())
        return f"made with {'; '.join(differences)}" if differences else ""


def _differences(theirs: object, ours: object, name: str = "") -> list[str]:
    if theirs == ours:
        return []
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = sorted(theirs.keys() | ours.keys())
        return [d for k in keys for d in _differences(theirs.get(k), ours.get(k), f"{name}.{k}" if name else k)]
    return [f"another {name}" + (f" ({theirs}, now {ours})" if len(f"{theirs}{ours}") < 60 else "")]


def _damage(path: Path, process: int = 0, processes: int = 1) -> str:
    """What is wrong with the files of a checkpoint, "" when they are as written. `processes` share the reading."""
    try:
        seals = json.loads((path / "checkpoint.json").read_text("utf-8"))["seals"]
        for seal, digest in sorted(seals.items())[process::processes]:
            if _digest(path / seal)[1] != digest:
                return f"{seal} is damaged"
            files = json.loads((path / seal).read_text("utf-8"))
            for name, (size, wanted) in files.items():
                if (path / name).stat().st_size != size:
                    return f"{name} has {(path / name).stat().st_size} bytes, written were {size}"
                if _digest(path / name)[1] != wanted:
                    return f"{name} is damaged"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        return f"{type(e).__name__}: {e}"
    return ""


def _digest(path: Path, sync: bool = False) -> tuple[int, str]:
    """(bytes, SHA-256) of a file; `sync`: wait until it is on disk."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb+" if sync else "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
        if sync:
            os.fsync(file.fileno())
    return size, digest.hexdigest()


def _write_synced(path: Path, content: dict) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
