"""The law of imports: words <- science <- edge <- cli; never up, never in a circle, and no effects in the science.

The checks are functions of sources, so that each is seen to fail on a planted violation as well.
"""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import synevo

ORDER = ("words", "science", "edge", "cli")

LAYERS = {
    "words": {"synevo", "synevo.errors", "synevo.plan", "synevo.lineage", "synevo.course", "synevo.happenings"},
    "science": {
        "synevo.images",
        "synevo.keys",
        "synevo.linen",
        "synevo.network",
        "synevo.ancestors",
        "synevo.ancestors.*",
        "synevo.tracing",
        "synevo.identities",
        "synevo.walking",
        "synevo.rules",
        "synevo.contraction_rules",
        "synevo.reshaping_rules",
        "synevo.prediction",
        "synevo.fitting",
        "synevo.wiring",
        "synevo.masks",
        "synevo.census",
        "synevo.encoding",
        "synevo.heredity",
        "synevo.removal",
        "synevo.environment",
        "synevo.mating",
        "synevo.mutation",
        "synevo.synthesis",
        "synevo.viability",
        "synevo.silence",
        "synevo.compiling",
        "synevo.training",
        "synevo.compaction",
        "synevo.evolution",
    },
    "edge": {
        "synevo.datasets",
        "synevo.sources",
        "synevo.prepared",
        "synevo.files",
        "synevo.rundir",
        "synevo.reload",
        "synevo.classification",
        "synevo.export",
        "synevo.export.*",
        "synevo.checkpoints",
        "synevo.stages",
        "synevo.stopwatch",
        "synevo.machine",
        "synevo.progress",
        "synevo.verification",
        "synevo.tensors",
        "synevo.holder",
        "synevo.shelf",
        "synevo.liveview",
        "synevo.watching",
        "synevo.curves",
        "synevo.report",
        "synevo.report.*",
    },
    "cli": {
        "synevo.cli",
        "synevo.deploying",
        "synevo.evolving",
        "synevo.looking",
        "synevo.replicates",
        "synevo.__main__",
    },
}

WORLD = {"pathlib", "os", "json", "time", "rich", "typer", "tensorflow_datasets"}
HEAVY = {"jax", "flax", "numpy", "optax"}
FORBIDDEN = {"words": WORLD | HEAVY, "science": WORLD, "edge": set(), "cli": set()}

MOST_LINES = 400

Sources = Mapping[str, str]


def read_sources() -> dict[str, str]:
    """The source of every module of synevo, by its dotted name."""
    root = Path(synevo.__file__).parent
    sources = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        sources[name] = path.read_text("utf-8")
    return sources


def layers_of(module: str) -> list[str]:
    """The layers that a module is assigned to."""
    package = module.rpartition(".")[0] + ".*"
    return [layer for layer, modules in LAYERS.items() if module in modules or package in modules]


def imports(module: str, source: str, *, package: bool = False) -> Iterator[tuple[str, int]]:
    """Everything that a module imports, at the top or in a function, as dotted names with lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level + package or None] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{origin}.{alias.name}", node.lineno) for alias in node.names)


def own_imports(sources: Sources) -> Iterator[tuple[str, str, int]]:
    """Which module of synevo imports which, and on what line."""
    for module, source in sources.items():
        package = any(other.startswith(f"{module}.") for other in sources)
        for name, line in imports(module, source, package=package):
            target = name
            while target not in sources and "." in target:
                target = target.rpartition(".")[0]
            if target.split(".")[0] == "synevo" and target != module:
                yield module, target, line


def unassigned(sources: Sources) -> list[str]:
    return [
        f"{module} is in {' and '.join(layers_of(module)) or 'no layer'}: add it to one of LAYERS in this file"
        for module in sources
        if len(layers_of(module)) != 1
    ]


def upward(sources: Sources) -> list[str]:
    """Imports from a layer above."""
    found = []
    for module, target, line in own_imports(sources):
        (here,), (there,) = layers_of(module), layers_of(target)
        if ORDER.index(there) > ORDER.index(here):
            found.append(f"{module}:{line} is {here} and imports {target}, which is {there}")
    return found


def circle(sources: Sources) -> list[str]:
    """Modules that import each other in a circle, if there is one."""
    graph: dict[str, set[str]] = {module: set() for module in sources}
    for module, target, _ in own_imports(sources):
        graph[module].add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def forbidden(sources: Sources) -> list[str]:
    """Imports of what a layer must do without."""
    return [
        f"{module}:{line} is {layer} and imports {name}"
        for module, source in sources.items()
        for layer in layers_of(module)
        for name, line in imports(module, source)
        if name.split(".")[0] in FORBIDDEN[layer]
    ]


def only_for_types(sources: Sources) -> list[str]:
    """Modules that import behind TYPE_CHECKING: circles that are only hidden."""
    return [
        module
        for module, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if "TYPE_CHECKING" in {getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None)}
    ]


def too_long(sources: Sources) -> list[str]:
    return [
        f"{module} has {len(source.splitlines())} lines"
        for module, source in sources.items()
        if len(source.splitlines()) > MOST_LINES
    ]


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return read_sources()


def test_every_module_is_in_one_layer(sources: Sources) -> None:
    assert len(sources) > 20
    assert unassigned(sources) == []


def test_no_layer_names_a_module_that_does_not_exist(sources: Sources) -> None:
    named = {module for modules in LAYERS.values() for module in modules if not module.endswith(".*")}
    assert named <= set(sources)


def test_no_module_imports_from_a_layer_above(sources: Sources) -> None:
    assert upward(sources) == []


def test_no_modules_import_each_other_in_a_circle(sources: Sources) -> None:
    assert circle(sources) == []


def test_science_touches_no_files_no_clock_and_no_screen_and_words_no_arrays(sources: Sources) -> None:
    assert forbidden(sources) == []


def test_nothing_is_imported_for_types_only(sources: Sources) -> None:
    assert only_for_types(sources) == []


def test_no_module_is_too_long(sources: Sources) -> None:
    assert too_long(sources) == []


# Each check sees the violation that it is there for.


def test_a_module_that_nobody_assigned_is_named() -> None:
    (complaint,) = unassigned({"synevo.masks": "", "synevo.utils": "", "synevo.report.page": ""})
    assert complaint.startswith("synevo.utils is in no layer: add it to one of LAYERS")


@pytest.mark.parametrize(
    ("module", "source", "target"),
    [
        ("synevo.errors", "import synevo.keys", "synevo.keys"),
        ("synevo.plan", "from synevo.network import Arrays", "synevo.network"),
        ("synevo.evolution", "def save():\n    from synevo import rundir, keys", "synevo.rundir"),
        ("synevo.ancestors.lenet5", "from ..datasets import load", "synevo.datasets"),
        ("synevo.ancestors", "from ..stages import run", "synevo.stages"),
        ("synevo.report.summary", "if True:\n    import synevo.cli as cli", "synevo.cli"),
        ("synevo", "from .evolution import evolve", "synevo.evolution"),
    ],
)
def test_an_import_that_goes_up_is_found_however_it_is_written(module: str, source: str, target: str) -> None:
    others = dict.fromkeys(("synevo.report.terminal", "synevo.ancestors.pooling", target), "")
    if target == "synevo.rundir":
        others["synevo.keys"] = ""
    (complaint,) = upward({"synevo": "", **others, module: source})
    assert complaint.startswith(f"{module}:")
    assert f"imports {target}," in complaint


def test_an_import_that_goes_down_or_stays_is_none_of_that() -> None:
    sources = {
        "synevo": "__version__ = '0'",
        "synevo.keys": "import jax",
        "synevo.masks": "from synevo.keys import derive",
        "synevo.cli": "from synevo import __version__, masks",
    }
    assert upward(sources) == []
    assert set(own_imports(sources)) == {
        ("synevo.masks", "synevo.keys", 1),
        ("synevo.cli", "synevo", 1),
        ("synevo.cli", "synevo.masks", 1),
    }


def test_a_circle_is_found_also_through_a_function() -> None:
    sources = {
        "synevo.masks": "from synevo.wiring import Layer",
        "synevo.wiring": "from synevo import rules",
        "synevo.rules": "def late():\n    import synevo.masks",
        "synevo.keys": "",
    }
    assert set(circle(sources)) == {"synevo.masks", "synevo.wiring", "synevo.rules"}
    assert circle(sources | {"synevo.rules": ""}) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("synevo.masks", "import os.path"),
        ("synevo.training", "def now():\n    from time import perf_counter"),
        ("synevo.ancestors.lenet5", "from rich.console import Console"),
        ("synevo.lineage", "import numpy as np"),
        ("synevo.plan", "from jax import Array"),
    ],
)
def test_an_import_that_a_layer_must_do_without_is_found(module: str, source: str) -> None:
    assert len(forbidden({module: source})) == 1


def test_what_the_edge_may_import_is_not_forbidden() -> None:
    assert forbidden({"synevo.rundir": "import os, json\nimport jax", "synevo.masks": "import jax, numpy"}) == []


@pytest.mark.parametrize(
    "source", ["from typing import TYPE_CHECKING", "import typing\nif typing.TYPE_CHECKING:\n    import jax"]
)
def test_an_import_for_types_only_is_found(source: str) -> None:
    assert only_for_types({"synevo.masks": source, "synevo.keys": "checking = 1"}) == ["synevo.masks"]


def test_a_module_of_one_line_too_many_is_found() -> None:
    assert too_long({"synevo.masks": "x = 1\n" * 401, "synevo.keys": "x = 1\n" * 400}) == ["synevo.masks has 401 lines"]
