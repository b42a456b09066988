r"""NAMES.toml: where names differ, its user says which array of a file is which of the network, and how it lies.

    names = [
      {from = 'stem\.(weight|bias)', to = 'conv1/\1'},
      {from = 'fc1\.weight', to = 'fc1/kernel', flatten = [16, 5, 5]},
      {from = 'fc2/w', to = 'fc2/kernel', axes = [1, 0]},
    ]
    drop = ['ema\..*']
    keep = ['head/.*']

`from` is a regular expression for the whole name in the file, `to` the path in the network, in which `\1` is the first
group. `axes` is a permutation of the axes; with it, the layout of the file's framework is not looked at. `flatten` is
the map [channels, height, width] that the file's framework flattened in front of this matrix. Without `to`, the array
keeps its name. What `drop` matches in the file is left out; what `keep` matches in the network keeps its numbers.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from synevo.errors import AdoptionError, did_you_mean

_REMEDY = (
    "A line is {from = 'REGULAR EXPRESSION', to = 'PATH', axes = [1, 0], flatten = [CHANNELS, HEIGHT, WIDTH]} in the "
    "list `names`, of which all but `from` may be left out; `drop` and `keep` are lists of regular expressions."
)


@dataclass(frozen=True)
class Rule:
    """One line of NAMES.toml: which names it is for, which array of the network they mean, and how the array lies."""

    pattern: re.Pattern[str]
    to: str | None = None
    axes: tuple[int, ...] | None = None
    flatten: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Rules:
    """What NAMES.toml says: rules, of which the first that matches is used; patterns of what is dropped and kept."""

    names: tuple[Rule, ...] = ()
    drop: tuple[re.Pattern[str], ...] = ()
    keep: tuple[re.Pattern[str], ...] = ()

    def find(self, spelled: Iterable[str]) -> tuple[Rule, str | None] | None:
        """Return the first rule for any spelling of a name, and the array of the network that it names."""
        known = list(spelled)
        for rule in self.names:
            for name in known:
                match = rule.pattern.fullmatch(name)
                if match:
                    return rule, None if rule.to is None else match.expand(rule.to)
        return None

    def drops(self, spelled: Iterable[str]) -> bool:
        """Return whether a name of the file, in any spelling, is one that is dropped."""
        return any(pattern.fullmatch(name) for name in spelled for pattern in self.drop)

    def keeps(self, name: str) -> bool:
        """Return whether an array of the network keeps its numbers."""
        return any(pattern.fullmatch(name) for pattern in self.keep)


def parse_rules(text: str) -> Rules:
    """Return the rules in the text of a NAMES.toml.

    Raises:
        AdoptionError: where it is no TOML, or says anything else.
    """
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise AdoptionError(f"The file of names is no TOML: {error}.", remedy=_REMEDY) from None
    _require_known("the file of names", table, ("names", "drop", "keep"))
    lines = table.get("names", [])
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        raise AdoptionError("`names` in the file of names is no list of rules.", remedy=_REMEDY)
    rules = tuple(_rule(number, line) for number, line in enumerate(lines, 1))
    return Rules(rules, *(_patterns(table, key) for key in ("drop", "keep")))


def _require_known(where: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise AdoptionError(f"There is no {key!r} in {where}.{did_you_mean(key, known)}", remedy=_REMEDY)


def _patterns(table: Mapping[str, Any], key: str) -> tuple[re.Pattern[str], ...]:
    found = table.get(key, [])
    if not isinstance(found, list):
        raise AdoptionError(f"`{key}` in the file of names is no list.", remedy=_REMEDY)
    return tuple(_pattern(f"`{key}`", one) for one in found)


def _pattern(where: str, text: Any) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        raise AdoptionError(f"{where}: {text!r} is no regular expression: {error}.", remedy=_REMEDY) from None


def _rule(number: int, line: Mapping[str, Any]) -> Rule:
    where = f"rule {number} of the file of names"
    _require_known(where, line, ("from", "to", "axes", "flatten"))
    if "from" not in line:
        raise AdoptionError(f"There is no `from` in {where}.", remedy=_REMEDY)
    pattern, to = _pattern(where, line["from"]), line.get("to")
    if to is not None:
        _require_path(where, pattern, to)
    axes, flatten = (_numbers(where, key, line.get(key)) for key in ("axes", "flatten"))
    if axes is not None and sorted(axes) != list(range(len(axes))):
        raise AdoptionError(f"{where}: axes = {list(axes)} is no permutation.", remedy=_REMEDY)
    if flatten is not None and (len(flatten) < 2 or min(flatten) < 1):  # noqa: PLR2004
        raise AdoptionError(f"{where}: flatten = {list(flatten)} is no [channels, height, width].", remedy=_REMEDY)
    return Rule(pattern, to, axes, flatten)


def _require_path(where: str, pattern: re.Pattern[str], to: Any) -> None:
    try:
        re.sub(pattern.pattern, to, "")
        if isinstance(to, str):
            return
    except (re.error, TypeError, IndexError) as error:
        raise AdoptionError(f"{where}: to = {to!r} cannot be filled in: {error}.", remedy=_REMEDY) from None
    raise AdoptionError(f"{where}: to = {to!r} is no path.", remedy=_REMEDY)


def _numbers(where: str, key: str, found: Any) -> tuple[int, ...] | None:
    if found is None:
        return None
    if not isinstance(found, list) or not all(type(one) is int for one in found):
        raise AdoptionError(f"{where}: {key} = {found!r} is no list of whole numbers.", remedy=_REMEDY)
    return tuple(found)


@dataclass(frozen=True)
class Line:
    """One line of a proposal: an array of the file, the one of the network, how it lies, and why it is proposed."""

    source: str
    target: str
    reason: str
    flatten: tuple[int, ...] | None = None
    axes: tuple[int, ...] | None = None


def write_rules(lines: Iterable[Line]) -> str:
    """Return the text of a NAMES.toml with these lines."""
    text = ["# Proposed from shapes and order alone. Look at every line before you use it.", "names = ["]
    for line in lines:
        fields = [f"from = {_quoted(re.escape(line.source))}", f"to = {_quoted(line.target)}"]
        fields += [f"{key} = {list(found)}" for key in ("axes", "flatten") if (found := getattr(line, key))]
        text.append(f"  {{{', '.join(fields)}}},  # {line.reason}")
    return "\n".join([*text, "]", ""])


def _quoted(text: str) -> str:
    """Return a string of TOML."""
    if "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text).replace("\x7f", "\\u007F")
