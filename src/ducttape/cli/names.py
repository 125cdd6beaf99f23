"""`--names`: the plans or tasks of a workflow, one a line, for completion in a shell; silent about what is wrong."""

from __future__ import annotations

from ducttape.cli.session import defines_of
from ducttape.syntax.diagnostics import TapeError


def run(options) -> int:
    from ducttape.workflow.loader import load

    try:
        workflow = load(options.tape, options.config_file, defines_of(options))
    except TapeError:
        return 1
    plans = dict.fromkeys(plan.name for plan in workflow.plans if plan.name)
    print("".join(f"{name}\n" for name in (plans if options.names == "plans" else workflow.tasks)), end="")
    return 0
