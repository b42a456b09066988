"""The command that checks a run: verify.

It is a plain function; `synevo.cli.app` makes a command of it.
"""

from typing import Annotated

import typer

from synevo.cli.looking import Ancestor, Run
from synevo.errors import RunError


def verify(
    run: Run = None,
    quick: Annotated[bool, typer.Option("--quick", help="Check the files alone, without loading networks.")] = False,
    ancestor: Ancestor = None,
) -> None:
    """Compute every number of the report again from the files."""
    from synevo.cli.opening import open_run
    from synevo.runs.verification import verify_files, verify_numbers

    target = open_run(run)
    checks = list(verify_files(target))
    if not quick and all(check.holds for check in checks):
        checks += verify_numbers(target, ancestor)
    for check in checks:
        typer.echo(
            f"{'ok     ' if check.holds else 'DAMAGED'} {check.subject}{'' if check.holds else f': {check.found}'}"
        )
    wrong = sum(not check.holds for check in checks)
    if wrong:
        raise RunError(
            f"{wrong} of {len(checks)} checks of {target.path} do not hold.",
            remedy="Restore the damaged files from a copy.",
        )
