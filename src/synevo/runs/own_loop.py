"""A run that a script of the user's writes, with a training loop of its own.

    run = synevo.adopt(model, problem, run="runs/mine", ancestor="mine:network", task="mine:problem")
    child = synevo.conceive(key, [run.organism()], keep_synapses=0.7, inputs=run.inputs)
    run.add(child.trained(train(child.model)))

The run is one as the commands write it, so that they report, compact, export and verify it.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx

from synevo.errors import RunError
from synevo.evolution import PROVEN
from synevo.genetics.archive import Archive, Birth, Memory
from synevo.genetics.organism import Organism
from synevo.growing import record
from synevo.lineage.course import Conception
from synevo.lineage.individuals import Adoption, Individual, Lineage
from synevo.model.network import Inputs
from synevo.plan.examples import TaskPlan
from synevo.plan.fields import AncestorPlan, EvolutionPlan, Plan, TrainingPlan
from synevo.runs import trusted
from synevo.runs.measuring import describe
from synevo.runs.organisms import Context, basis_of
from synevo.runs.rundir import RunDir
from synevo.runs.stages import RunArchive
from synevo.tasks.task import Examples, Problem, first


@dataclass(frozen=True)
class Run:
    """A lineage that a script evolves: its archive, and the problem by whose examples individuals are scored.

    `folder` is the run on disk; None in memory.
    """

    archive: Archive
    problem: Problem
    folder: RunDir | None = None

    @property
    def lineage(self) -> Lineage:
        """The individuals so far, with their counts and scores."""
        return self.archive.lineage()

    @property
    def inputs(self) -> Inputs:
        """Arguments of the network, of the first validation examples: real inputs on which an offspring is proven."""
        return _inputs(self.problem, self.problem.validation, PROVEN)

    def organism(self, name: str | None = None) -> Organism:
        """Return an individual by its name, such as g03, or else the best of the last generation on validation.

        Raises:
            RunError: if there is none, or its files are damaged.
        """
        self._require(() if name is None else (name,))
        return self.archive.organism(name or self._head)

    def add(self, organism: Organism, *, parents: Sequence[str] = (), epochs: int = 0) -> Individual:
        """Score a trained offspring, keep it, and return its record.

        `parents` are the names of its parents, the best first; by default it is the best of the last generation. The
        offspring belongs to the generation after theirs. `epochs` is how long it was trained, for the record.

        Raises:
            RunError: where a parent is not in the lineage, or a generation after that of the offspring has begun.
        """
        with self.folder.writing() if self.folder else nullcontext():
            parents = tuple(parents) or (self._head,)
            self._require(parents)
            lineage = self.lineage
            generation = 1 + max(one.generation for one in lineage.individuals if one.name in parents)
            if generation < lineage.last.generation:
                raise RunError(
                    f"Generation {generation} is complete: generation {lineage.last.generation} has begun.",
                    remedy="Add all offspring of a generation before those of the next.",
                )
            conception = Conception(generation, len(lineage.brood(generation)) + 1, 1.0)
            individual = record(conception, organism, self.problem, TrainingPlan(epochs=epochs), parents)
            return self.archive.keep(Birth(replace(individual, learning_rate=None), organism)).individual

    @property
    def _head(self) -> str:
        return self.lineage.head(self.lineage.last.generation).name

    def _require(self, names: Sequence[str]) -> None:
        """Raise RunError if there is no individual of one of these names."""
        known = [one.name for one in self.lineage.individuals]
        for name in names:
            if name not in known:
                raise RunError(f"There is no individual {name!r}.", remedy=f"There are {', '.join(known)}.")


def adopt(
    model: nnx.Module | linen.Module,
    problem: Problem,
    *,
    run: str | Path | None = None,
    variables: dict[str, Any] | None = None,
    ancestor: str | None = None,
    task: str | None = None,
    protect: str | None = None,
    only: str | None = None,
) -> Run:
    """Adopt a trained network as the ancestor of a lineage, as it is: it is scored, and not trained.

    A Linen module comes with its `variables`. The lineage is kept in the folder `run`, or else in memory; if there is
    one in the folder already, it goes on. `ancestor` (`package.module:factory`) and `task` (`package.module:problem`)
    tell the commands how to make the network and the problem again, for all that needs more than a look at the numbers.
    The units of the layers that the regular expression `protect` names stay, or of all that `only` leaves out.

    Raises:
        AncestorError: where a Linen module does not run on its inputs alone, or the variables are not its own.
        PlanError: where `protect` or `only` names no layer.
        RunError: where the run in the folder has another plan or network, or another process writes it.
    """
    organism = Organism.of(model, _inputs(problem, problem.train, 2), variables=variables)
    organism = replace(organism, species=organism.species.protecting(protect, only))
    plan = Plan(
        task=TaskPlan(name=task or problem.task.name),
        ancestor=AncestorPlan(name=ancestor or f"{type(model).__module__}:{type(model).__qualname__}"),
        ancestor_training=TrainingPlan(epochs=0),
        evolution=EvolutionPlan(protect=protect, only=only),
    )
    first_one = replace(record(Conception(1, 1, 1.0), organism, problem, plan.ancestor_training), adoption=Adoption())
    if run is None:
        memory = Memory()
        memory.keep(Birth(first_one, organism))
        return Run(memory, problem)
    folder = RunDir(Path(run))
    context = Context(plan, problem, organism.species, None)
    archive = RunArchive(folder, context, basis_of(context))
    with folder.writing():
        if folder.load_lineage().individuals:
            folder.check_plan(plan)
        else:
            folder.require_all_listed()
            folder.save_plan(plan)
            folder.save_machine(describe())
            archive.keep(Birth(first_one, organism))
    if ancestor is not None:
        trusted.remember(ancestor)
    return Run(archive, problem, folder)


def _inputs(problem: Problem, examples: Examples, count: int) -> Inputs:
    return problem.task.inputs(jax.tree.map(jnp.asarray, first(examples, count)))
