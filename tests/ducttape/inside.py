"""The real command on tapes written by a test, inside this process: a tenth of the time of a new interpreter."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from unittest import mock

from tapes_by_hand import Place, environment

from ducttape.cli import main as cli


class Inside(Place):
    """As `Place`, but `run` starts no interpreter."""

    def run(self, *arguments, answer: str = "", tape: str = "x.tape", **options) -> subprocess.CompletedProcess:
        words = [tape, "-O", "out", *map(str, arguments)]
        out, err, before = io.StringIO(), io.StringIO(), os.getcwd()
        with (
            mock.patch.dict(os.environ, environment(**options)),
            mock.patch.object(sys, "stdin", io.StringIO(answer)),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            os.chdir(self.folder)
            try:
                code = cli.main(words)
            finally:
                os.chdir(before)
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
