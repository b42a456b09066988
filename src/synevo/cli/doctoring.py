"""The command that examines this machine: doctor.

It is a plain function; `synevo.cli.app` makes a command of it.
"""

import json
from typing import Annotated, Any

import typer

from synevo.cli.screens import say

_STATES = {"works": "ok     ", "missing": "–      ", "fails": "FAILS  "}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what this machine has and what works on it. That is versions, devices, engines, extras, disk and caches."""
    from synevo.deploy.engines.checkup import examine

    found = examine()
    if as_json:
        say(json.dumps(found, indent=2))
        return
    for line in _lines(found):
        say(line)


def _lines(found: dict[str, Any]) -> list[str]:
    """Return what was found, in words."""
    from synevo.report.numerals import size

    libraries = ", ".join(f"{name} {version}" for name, version in found["libraries"].items())
    lines = [
        f"synevo {found.get('synevo', '')}, Python {found.get('python', '')}, {found.get('system', '')}",
        libraries,
    ]
    if found["device_problem"]:
        lines.append(f"FAILS   JAX finds no device: {found['device_problem']}")
    else:
        lines.append(
            f"JAX computes on {found['devices']} × {found['device']} ({found['backend']}); {found['threads']} threads, "
            f"{size(found['memory_bytes'])} of memory"
        )
    lines += ["", "Engines, each tested with a tiny network:"]
    for one in found["engines"]:
        took = f" ({one['seconds']:.1f} s)" if one["state"] == "works" else f": {one['said']}"
        lines.append(f"  {_STATES[one['state']]} {one['title']} in {one['engine']}{took}")
    lines += ["", "Extras:"]
    for one in found["extras"]:
        packages = ", ".join(f"{name} {version}" for name, version in one["packages"].items() if version)
        said = packages if one["installed"] else f"not installed: {one['install']}"
        lines.append(f"  {_STATES['works' if one['installed'] else 'missing']} {one['name']}: {said}")
    lines += ["", "Disk:"]
    lines += [f"  {one['what']}: {size(one['free_bytes'])} free, {one['path']}" for one in found["disk"]]
    lines += ["", "Caches, which are made again where they are deleted:"]
    lines += [f"  {one['what']}: {size(one['bytes'])}, {one['path']}" for one in found["caches"]]
    return lines
