"""The `ducttape` command: `ducttape TAPE [options] [MODE [TASK [REALIZATION ...]]]`.

Data goes to stdout, talk to stderr. Exit codes: 0 done, nothing to do or declined; 1 any error; 2 wrong usage; 130
interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

MODES = {
    "exec": "run what is not complete (the default)",
    "list": "the planned tasks, one `TASK REALIZATION` a line",
    "status": "complete, stale, incomplete or absent, and why",
    "explain": "which realizations each plan reaches",
    "env": "the variables of a task: env TASK REALIZATION",
    "commands": "the variables and the body, to run by hand",
    "viz": "the graph for graphviz",
    "why": "how a file was made, back to its sources: why PATH",
    "report": "time, processor time and memory of every task",
    "summary": "the tape's summaries as a table",
    "versions": "past runs and built packages",
    "update": "build the newest package versions",
    "invalidate": "make tasks and all that follows from them run again",
    "purge": "delete the results of tasks and of all that follows",
    "mark_done": "accept hand-made outputs",
    "unlock": "delete the locks of tasks that are not complete",
}

_USAGE = "ducttape TAPE [options] [MODE [TASK [REALIZATION ...]]]"


def _parser() -> argparse.ArgumentParser:
    modes = "\n".join(f"  {name:<12}{text}" for name, text in MODES.items())
    parser = argparse.ArgumentParser(
        prog="ducttape",
        usage=_USAGE,
        description="Run the workflow of a tape: every task once, again only when something it depends on changed.",
        epilog=f"modes:\n{modes}\n\nTASK and REALIZATION may be globs (`train*`, `Size.big+*`); the default is all.",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=110),
        add_help=False,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to run")
    what.add_argument("-C", "--config-file", metavar="FILE", action="append", default=[], help="config; repeatable")
    what.add_argument(
        "-D", "--define", metavar="NAME=VALUE", action="append", default=[], help="set a global; repeatable"
    )
    what.add_argument("-p", "--plans", metavar="NAME", action="append", default=[], help="only this plan; repeatable")
    what.add_argument("-O", "--output", metavar="DIR", help="where results go (else ducttape_output, else here)")
    how = parser.add_argument_group("how to run")
    how.add_argument("-j", "--jobs", metavar="N", type=int, default=1, help="tasks at a time (default 1)")
    how.add_argument("-y", "--yes", action="store_true", help="ask nothing")
    how.add_argument("--dry-run", action="store_true", help="show what would run, and why; run nothing")
    how.add_argument(
        "--stale", choices=["rerun", "keep", "fail"], default="rerun", help="results of other code or data (rerun)"
    )
    how.add_argument("--fail-fast", action="store_true", help="start nothing more after a failure")
    talk = parser.add_argument_group("how to talk")
    talk.add_argument("-n", "--no-color", action="store_true", help="no colours")
    talk.add_argument("--no-live", action="store_true", help="plain lines and tasks' output instead of the live view")
    talk.add_argument(
        "--json", action="store_true", help="JSON from list, status, env, report, versions, why, --dry-run"
    )
    talk.add_argument("--version", action="store_true", help="the engine's version")
    talk.add_argument("-h", "--help", action="store_true", help="this text")
    # Accepted for the sake of old command lines; the order of independent tasks is that of the tape.
    parser.add_argument("-t", "--traversal", help=argparse.SUPPRESS)
    parser.add_argument("-T", "--viz-type", default="unpacked", help=argparse.SUPPRESS)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    return parser


def _dashed(word: str) -> str:
    """Long options of the original program have underscores; dashes mean the same."""
    name, separator, value = word.partition("=")
    return name.replace("_", "-") + separator + value if name.startswith("--") else word


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    parser = _parser()
    try:
        options = parser.parse_intermixed_args([_dashed(word) for word in (sys.argv[1:] if argv is None else argv)])
    except SystemExit as e:
        return int(e.code or 0)
    if options.help:
        parser.print_help()
        return 0
    if options.version:
        from ducttape.store.record import ENGINE_VERSION

        print(f"ducttape {ENGINE_VERSION}")
        return 0
    if not options.words:
        print(f"usage: {_USAGE}\nhint: ducttape --help", file=sys.stderr)
        return 2
    if options.jobs < 1:
        print(f"error: -j must be at least 1, not {options.jobs}", file=sys.stderr)
        return 2
    options.tape, *rest = options.words
    options.mode = rest[0] if rest else "exec"
    options.globs = rest[1:]
    if options.mode not in MODES:
        from ducttape.syntax.diagnostics import did_you_mean

        print(f"error: unknown mode '{options.mode}'\nhint: {did_you_mean(options.mode, MODES)}", file=sys.stderr)
        return 2
    return _dispatch(options)


def _dispatch(options: argparse.Namespace) -> int:
    from ducttape.cli.terminal import Paint, error_text, say
    from ducttape.syntax.diagnostics import TapeError

    try:
        module = importlib.import_module(
            f"ducttape.cli.{options.mode}" if options.mode != "exec" else "ducttape.cli.execute"
        )
        return module.run(options) or 0
    except TapeError as e:
        paint = Paint(sys.stderr, not options.no_color)
        for diagnostic in e.diagnostics:
            say(error_text(diagnostic.render(), paint))
        if len(e.diagnostics) > 1:
            say(f"{len(e.diagnostics)} errors")
        return 1
    except BrokenPipeError:
        # The reader of our output has seen enough; keep Python from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as e:
        say(f"error: {e}")
        if hint := _os_hint(e):
            say(f"hint: {hint}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130


def _os_hint(error: OSError) -> str | None:
    import errno

    return {
        errno.ENOSPC: "free some space and type the same command again; what was complete stays complete",
        errno.EACCES: "choose a folder that you may write to with -O DIR",
        errno.EROFS: "choose a folder that you may write to with -O DIR",
        errno.EDQUOT: "your quota is used up; free some space and type the same command again",
    }.get(error.errno)


def console() -> None:
    """The entry point of the installed command."""
    for stream in (sys.stdout, sys.stderr):
        # A value may hold bytes that are not UTF-8; they leave as they came.
        stream.reconfigure(errors="surrogateescape")
    sys.exit(main())


if __name__ == "__main__":
    console()
