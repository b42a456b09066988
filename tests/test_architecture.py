"""The law of imports: a package imports only what stands before it; the science touches no file, clock or screen.

    errors keys → plan → lineage → model → tasks → ancestors → wiring → compaction | genetics | training
                → growing → evolution → files → adoption → data → runs → deploy | report | guide → cli

The checks are functions of sources, so that each is seen to fail on a planted violation as well.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import synevo

FLOORS = (
    ("errors",),
    ("keys",),
    ("plan",),
    ("lineage",),
    ("model",),
    ("tasks",),
    ("ancestors",),
    ("wiring",),
    ("compaction", "genetics", "training"),
    ("growing",),
    ("evolution",),
    ("files",),
    ("adoption",),
    ("data",),
    ("runs",),
    ("deploy", "report", "guide"),
    ("cli",),
)
"""The packages, and the modules at the door, from the ground up; neighbours on a floor do not see each other."""

HEIGHT = {package: height for height, floor in enumerate(FLOORS) for package in floor}
SCIENCE = {package for package, height in HEIGHT.items() if height <= HEIGHT["evolution"]}
WITHOUT_ARRAYS = {"errors", "plan", "lineage"}
WITHOUT_JAX = {*WITHOUT_ARRAYS, "report", "guide"}
"""Packages in which nothing may load JAX, not even through what they import."""

WORLD = {"pathlib", "os", "json", "time", "rich", "typer", "tensorflow_datasets"}
JAX = {"jax", "flax", "optax", "orbax"}

DOOR = {"synevo", "synevo.__main__"}
"""Modules of no package: the face, which imports lazily, and the command."""

MOST_LINES = 400
MOST_MODULES = 16

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


def package_of(module: str) -> str:
    """The first name below synevo: a package, or a module at the door."""
    return module.split(".")[1] if "." in module else module


def imports(module: str, source: str, *, package: bool = False, late: bool = True) -> Iterator[tuple[str, int]]:
    """Everything that a module imports, as dotted names with lines; at the top alone where `late` imports are not."""
    tree = ast.parse(source)
    nodes = ast.walk(tree) if late else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level + package or None] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{origin}.{alias.name}", node.lineno) for alias in node.names)


def own_imports(sources: Sources, *, late: bool = True) -> Iterator[tuple[str, str, int]]:
    """Which module of synevo imports which, and on what line."""
    for module, source in sources.items():
        package = any(other.startswith(f"{module}.") for other in sources)
        for name, line in imports(module, source, package=package, late=late):
            target = name
            while target not in sources and "." in target:
                target = target.rpartition(".")[0]
            if target.split(".")[0] == "synevo" and target != module:
                yield module, target, line


def unassigned(sources: Sources) -> list[str]:
    return [
        f"{module} is in no package of FLOORS: move it to one, or add its package there"
        for module in sources
        if module not in DOOR and package_of(module) not in HEIGHT
    ]


def upward(sources: Sources) -> list[str]:
    """Imports from a floor above, or from a neighbour on the same one."""
    found = []
    for module, target, line in own_imports(sources):
        here, there = package_of(module), package_of(target)
        if module in DOOR or target == "synevo" or here == there:
            continue
        if HEIGHT[there] >= HEIGHT[here]:
            found.append(f"{module}:{line} imports {target}, which stands behind {here}")
    return found


def from_the_face(sources: Sources) -> list[str]:
    """Imports of anything but the version from the face of the library, which imports them all."""
    return [
        f"{module}:{line} imports {name} from the face"
        for module, source in sources.items()
        for name, line in imports(module, source)
        if name.count(".") == 1 and name.startswith("synevo.") and name not in sources and name != "synevo.__version__"
        if f"{name}" not in {f"synevo.{package}" for package in HEIGHT}
    ]


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


def impure(sources: Sources) -> list[str]:
    """Imports of files, clocks and screens in the science, and of arrays where there are only words."""
    return [
        f"{module}:{line} imports {name}"
        for module, source in sources.items()
        for name, line in imports(module, source)
        if (package_of(module) in SCIENCE and name.split(".")[0] in WORLD)
        or (package_of(module) in WITHOUT_ARRAYS and name.split(".")[0] in {"numpy", *JAX})
    ]


def heavy(sources: Sources) -> list[str]:
    """What loads JAX with the first import, although it must not."""
    graph: dict[str, set[str]] = {module: set() for module in sources}
    for module, target, _ in own_imports(sources, late=False):
        graph[module].add(target)
        graph[module] |= {".".join(target.split(".")[:n]) for n in range(1, target.count(".") + 1)} & sources.keys()
    found = []
    for module in sources:
        if package_of(module) not in WITHOUT_JAX:
            continue
        reached, open_ = {module}, [module]
        while open_:
            fresh = graph[open_.pop()] - reached
            reached |= fresh
            open_ += fresh
        for other in sorted(reached):
            loads = [name for name, _ in imports(other, sources[other], late=False) if name.split(".")[0] in JAX]
            found += [f"{module} loads {name} through {other}" for name in loads[:1]]
    return found


def only_for_types(sources: Sources) -> list[str]:
    """Modules that import behind TYPE_CHECKING, circles that are only hidden; the face may: it loads nothing early."""
    return [
        module
        for module, source in sources.items()
        if module != "synevo"
        for node in ast.walk(ast.parse(source))
        if "TYPE_CHECKING" in {getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None)}
    ]


def too_long(sources: Sources) -> list[str]:
    return [
        f"{module} has {len(source.splitlines())} lines"
        for module, source in sources.items()
        if len(source.splitlines()) > MOST_LINES
    ]


def too_wide(sources: Sources) -> list[str]:
    """Folders with more modules than a reader takes in."""
    folders: dict[str, int] = {}
    for module in sources:
        folder = module.rpartition(".")[0]
        if not any(other.startswith(f"{module}.") for other in sources):
            folders[folder] = folders.get(folder, 0) + 1
    return [f"{folder} holds {count} modules" for folder, count in folders.items() if count > MOST_MODULES]


def meshed(sources: Sources) -> list[str]:
    """Modules, but the one that places arrays, that know of meshes."""
    return [
        f"{module}:{line} imports {name}"
        for module, source in sources.items()
        for name, line in imports(module, source)
        if name.startswith("jax.sharding") and module != "synevo.training.placement"
    ]


CHECKS = (meshed, unassigned, upward, from_the_face, circle, impure, heavy, only_for_types, too_long, too_wide)


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    return read_sources()


@pytest.mark.parametrize("check", CHECKS)
def test_the_house_stands(check: Callable[[Sources], list[str]], sources: Sources) -> None:
    assert len(sources) > 20
    assert check(sources) == []


def twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def test_no_two_modules_of_tests_share_a_name() -> None:
    """Tests import each other by bare names, of which pytest takes each once."""
    assert twice(path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "__init__.py") == []
    assert twice(["test_a.py", "test_b.py", "test_a.py"]) == ["test_a.py"]


def test_no_floor_names_a_package_that_does_not_exist(sources: Sources) -> None:
    assert set(HEIGHT) == {package_of(module) for module in sources if module not in DOOR}


# Each check sees the violation that it is there for.


def test_a_module_that_nobody_assigned_is_named() -> None:
    (complaint,) = unassigned({"synevo.wiring.masks": "", "synevo.utils": "", "synevo.report.page.html": ""})
    assert complaint.startswith("synevo.utils is in no package of FLOORS")


@pytest.mark.parametrize(
    ("module", "source", "target"),
    [
        ("synevo.errors", "import synevo.keys", "synevo.keys"),
        ("synevo.plan.fields", "from synevo.model.network import Arrays", "synevo.model.network"),
        ("synevo.evolution", "def save():\n    from synevo.runs import rundir", "synevo.runs.rundir"),
        ("synevo.ancestors.lenet5", "from ..data.datasets import load", "synevo.data.datasets"),
        ("synevo.ancestors", "from .. import runs", "synevo.runs"),
        ("synevo.report.summary", "if True:\n    import synevo.cli.app as cli", "synevo.cli.app"),
        ("synevo.genetics.mating", "from synevo.compaction.cutting import cut", "synevo.compaction.cutting"),
        ("synevo.compaction.proof", "from synevo.genetics import census", "synevo.genetics.census"),
        ("synevo.deploy.reload", "from synevo.report import summary", "synevo.report.summary"),
    ],
)
def test_an_import_that_goes_up_or_aside_is_found_however_it_is_written(module: str, source: str, target: str) -> None:
    others = dict.fromkeys(("synevo.report.terminal", "synevo.ancestors.pooling", target), "")
    (complaint,) = upward({"synevo": "", **others, module: source})
    assert complaint.startswith(f"{module}:")
    assert f"imports {target}," in complaint


def test_an_import_that_goes_down_or_stays_is_none_of_that() -> None:
    sources = {
        "synevo": "__version__ = '0'",
        "synevo.keys": "import jax",
        "synevo.wiring.masks": "from synevo.keys import derive",
        "synevo.cli.app": "from synevo import __version__\nfrom synevo.wiring import masks",
    }
    assert upward(sources) == []
    assert from_the_face(sources) == []
    assert set(own_imports(sources)) == {
        ("synevo.wiring.masks", "synevo.keys", 1),
        ("synevo.cli.app", "synevo", 1),
        ("synevo.cli.app", "synevo.wiring.masks", 2),
    }


def test_an_import_from_the_face_is_found() -> None:
    assert len(from_the_face({"synevo": "", "synevo.runs.stages": "from synevo import compact"})) == 1


def test_a_mesh_where_nothing_is_placed_is_found() -> None:
    knows = "def late():\n    from jax.sharding import Mesh"
    (complaint,) = meshed({"synevo.training.placement": knows, "synevo.training.fit": knows})
    assert complaint == "synevo.training.fit:2 imports jax.sharding.Mesh"


def test_a_circle_is_found_also_through_a_function() -> None:
    sources = {
        "synevo.wiring.masks": "from synevo.wiring.dissection import Layer",
        "synevo.wiring.dissection": "from synevo.wiring.rules import follow",
        "synevo.wiring.rules.follow": "def late():\n    import synevo.wiring.masks",
        "synevo.keys": "",
    }
    assert set(circle(sources)) == {"synevo.wiring.masks", "synevo.wiring.dissection", "synevo.wiring.rules.follow"}
    assert circle(sources | {"synevo.wiring.rules.follow": ""}) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("synevo.wiring.masks", "import os.path"),
        ("synevo.training.fit", "def now():\n    from time import perf_counter"),
        ("synevo.ancestors.lenet5", "from rich.console import Console"),
        ("synevo.lineage.individuals", "import numpy as np"),
        ("synevo.plan.fields", "from jax import Array"),
    ],
)
def test_an_import_that_a_package_must_do_without_is_found(module: str, source: str) -> None:
    assert len(impure({module: source})) == 1


def test_what_the_edge_may_import_is_not_impure() -> None:
    assert (
        impure({"synevo.runs.rundir": "import os, json\nimport jax", "synevo.wiring.masks": "import jax, numpy"}) == []
    )


def test_jax_is_found_in_a_report_however_deep() -> None:
    sources = {
        "synevo.report.summary": "from synevo.runs.rundir import RunDir",
        "synevo.runs": "",
        "synevo.runs.rundir": "from synevo.keys import root",
        "synevo.keys": "import jax",
    }
    assert heavy(sources) == ["synevo.report.summary loads jax through synevo.keys"]
    assert heavy(sources | {"synevo.keys": "def late():\n    import jax"}) == []


def test_a_hidden_import_a_long_module_and_a_wide_folder_are_found() -> None:
    assert only_for_types({"synevo.keys": "from typing import TYPE_CHECKING", "synevo": "TYPE_CHECKING"}) == [
        "synevo.keys"
    ]
    assert len(too_long({"synevo.keys": "\n" * (MOST_LINES + 1)})) == 1
    assert len(too_wide({f"synevo.runs.m{n}": "" for n in range(MOST_MODULES + 1)})) == 1
