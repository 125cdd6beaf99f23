"""Directives: globals named `ducttape_...` with literal values that steer the engine. Unknown ones are ignored."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from ducttape.syntax.diagnostics import Diagnostic, TapeError, did_you_mean
from ducttape.syntax.tree import Assignment, Literal
from ducttape.workflow.packed import literal_of
from ducttape.workflow.values import unusable

PREFIX = "ducttape_"
NAMES = (
    "ducttape_output",
    "ducttape_default_config",
    "ducttape_default_plan",
    "ducttape_structure",
    "ducttape_versioned_tasks",
    "ducttape_undeclared_vars",
    "ducttape_unused_vars",
    "ducttape_auto_update_packages",
    "ducttape_branchpoint_delimiter",
    "ducttape_experimental_imports",
    "ducttape_experimental_packages",
    "ducttape_experimental_submitters",
    "ducttape_experimental_multiproc",
)
_TRUE = ("true", "1", "t", "enable", "yes", "on")
_FALSE = ("false", "0", "f", "disable", "no", "off")


class Directives:
    """Typed access by full name. A value of the wrong kind raises TapeError at the value."""

    def __init__(self, globals_: Mapping[str, Assignment]):
        self._globals = globals_

    def literal(self, name: str) -> Literal | None:
        """The literal, with its span; None when the directive is not given."""
        item = self._globals.get(name)
        if item is None:
            return None
        found = literal_of(item, self._globals)
        if found is None:
            raise TapeError(Diagnostic(f"directive '{name}' must be a literal", item.span))
        if wrong := unusable(found.value):
            raise TapeError(Diagnostic(wrong, found.span))
        return found

    def text(self, name: str, default: str | None = None) -> str | None:
        found = self.literal(name)
        return default if found is None else found.value

    def flag(self, name: str, default: bool = False) -> bool:
        found = self.literal(name)
        if found is None:
            return default
        word = found.value.lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise TapeError(
            Diagnostic(
                f"directive '{name}' must be true or false, not '{found.value}'", found.span, hint="write true or false"
            )
        )

    def choice(self, name: str, options: tuple[str, ...]) -> str:
        """One of `options`; the first is the default."""
        found = self.literal(name)
        if found is None:
            return options[0]
        if found.value.lower() not in options:
            raise TapeError(
                Diagnostic(
                    f"directive '{name}' must be one of {', '.join(options)}, not '{found.value}'",
                    found.span,
                    hint=did_you_mean(found.value, options),
                )
            )
        return found.value.lower()

    @property
    def output(self) -> str | None:
        """The base directory, as written (`~` not expanded)."""
        return self.text("ducttape_output")

    @property
    def default_plan(self) -> Literal | None:
        """Names of the plans that count where none is asked for, separated by blanks; None or empty for all plans."""
        return self.literal("ducttape_default_plan")

    @property
    def structure(self) -> str:
        return self.choice("ducttape_structure", ("hyper", "flat"))

    @property
    def versioned_tasks(self) -> bool:
        return self.flag("ducttape_versioned_tasks")

    @property
    def undeclared_vars(self) -> str:
        return self.choice("ducttape_undeclared_vars", ("ignore", "warn", "error"))

    @property
    def unused_vars(self) -> str:
        return self.choice("ducttape_unused_vars", ("ignore", "warn", "error"))

    @property
    def auto_update_packages(self) -> bool:
        return self.flag("ducttape_auto_update_packages")

    @property
    def multiproc(self) -> bool:
        return self.flag("ducttape_experimental_multiproc")

    @property
    def delimiter(self) -> str:
        """The character between branches in realization names: the first one of the directive, `+` by default."""
        found = self.literal("ducttape_branchpoint_delimiter")
        if found is None:
            return "+"
        if not found.value or found.value[0] in "/\0\n. " or found.value[0].isalnum():
            raise TapeError(
                Diagnostic("ducttape_branchpoint_delimiter must be a punctuation character, not '/' or '.'", found.span)
            )
        return found.value[0]

    def _misspelled(self) -> Iterator[Diagnostic]:
        """Warnings for names that look like directives and are none, but nearly."""
        for name, item in self._globals.items():
            if name.startswith(PREFIX) and name not in NAMES:
                near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.9)
                if near:
                    message, hint = f"'{name}' is no directive", f"did you mean '{near[0]}'?"
                    yield Diagnostic(message, item.name_span, hint=hint, severity="warning")

    def check(self) -> list[Diagnostic]:
        """Everything that is wrong with the known directives, and warnings about misspelled ones."""
        errors: list[Diagnostic] = list(self._misspelled())
        flags = ("imports", "packages", "submitters", "multiproc")
        reads = [lambda n=name: self.flag(f"ducttape_experimental_{n}") for name in flags]
        for attribute in [
            "output",
            "default_plan",
            "structure",
            "versioned_tasks",
            "undeclared_vars",
            "unused_vars",
            "auto_update_packages",
            "delimiter",
        ]:
            reads.append(lambda a=attribute: getattr(self, a))
        for read in reads:
            try:
                read()
            except TapeError as error:
                errors.extend(error.diagnostics)
        return errors
