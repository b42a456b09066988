"""Every setting of a run, once: frozen, validated, written to the run before any work starts.

A plan is composed of a preset (`tables/*.toml`), the options of the command line and `--set section.field=value`, in
that order. It holds only resolved values, so a plan alone tells what a run did. Symbols are those of the paper (arXiv
1609.01360) as restated in arXiv 1709.02043, eqs. 2, 6 and 7.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from synevo.plan.examples import DataPlan, TaskPlan
from synevo.plan.kinds import (
    ADAM,
    Budget,
    Count,
    Devices,
    OneOrMany,
    OptimiserName,
    OwnName,
    Share,
)
from synevo.plan.section import Option, Section

FORMAT = 1

Scope = Literal["layer", "network"]

Mating = Literal["sum", "product"]

EngineName = Literal["auto", "onnxruntime", "litert", "c", "jax"]

HeredityName = Literal[
    "cluster", "synapse", "magnitude", "taylor", "removal", "sensitivity", "random", "shuffled", "scratch"
]


class AncestorPlan(Section):
    """The dense network of generation 1."""

    name: Annotated[str, Option("--ancestor")] = Field(
        "lenet5",
        min_length=1,
        description="the network of generation 1, H_1: a built-in name, or package.module:factory",
    )
    weights: Annotated[str | None, Option("--weights", "PATH")] = Field(
        None, min_length=1, description="its trained weights: a file, or the folder of a checkpoint"
    )
    names: Annotated[str | None, Option("--names", "FILE")] = Field(
        None, min_length=1, description="rules (TOML) from the names of these weights to those of the network's arrays"
    )


class TrainingPlan(Section):
    """The training of one network: Adam and its learning rate over the steps, or an optimiser of the user's own."""

    epochs: int = Field(10, ge=0, description="passes over the training images; 0: not trained at all")
    growth: float = Field(
        0.0, ge=0, le=2, description="epochs grow as (synaptic efficiency)^growth, for networks that learn slower"
    )
    batch_size: Count = Field(128, description="images a step")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="peak learning rate")
    rate_growth: float = Field(
        0.0, ge=0, le=1, description="the learning rate grows as (synaptic efficiency)^rate_growth, up to 1"
    )
    optimiser: OptimiserName = Field(
        ADAM, description="adam, or package.module:function of the learning rate and the number of steps"
    )
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="a warm-up of 5 % of the steps and a cosine to 1 % of the peak, or the peak throughout"
    )
    weight_decay: float = Field(0.0, ge=0, le=1, description="decoupled weight decay of the synapses")
    distillation: float = Field(
        0.0, ge=0, le=1, description="share of the loss that asks for the ancestor's answers, not for the labels"
    )
    temperature: float = Field(4.0, gt=0, le=100, description="how far distillation softens both answers")
    shift: int = Field(0, ge=0, le=8, description="augmentation: random translation by up to this many pixels")
    flip: bool = Field(False, description="augmentation: random left-right mirror image")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="what a training step computes activations and matrix products in; all else is float32",
    )
    convolutions: Literal["products", "as-written"] = Field(
        "products",
        description="on a CPU, a step computes 1×1 and depthwise convolutions as products, which are faster and equal "
        "but for rounding; or as the network has them",
    )
    devices: Annotated[Devices, Option("--devices", "N|all")] = Field(
        1, description="devices of each host that share every batch, or all; other devices round otherwise, no more"
    )
    shard: Annotated[bool, Option("--shard/--no-shard")] = Field(
        False, description="spread large arrays over the devices of a host, where one device cannot hold the network"
    )
    augment: OwnName | None = Field(
        None, description="augmentation of your own: package.module:function of a key and a batch"
    )

    @model_validator(mode="after")
    def _an_own_optimiser_decides_alone(self) -> "TrainingPlan":
        if self.optimiser != ADAM and (self.weight_decay or self.schedule != "cosine"):
            raise ValueError(
                f"schedule and weight decay are part of the optimiser {self.optimiser}: leave the fields schedule "
                "and weight_decay as they are by default"
            )
        return self

    def scaled(self, efficiency: float, *, spent: int = 0) -> "TrainingPlan":
        """Return the plan for a network of this synaptic efficiency, after `spent` epochs that it did not inherit.

        It has epochs · efficiency^growth epochs, rounded, plus `spent`. Its learning rate is this one's ·
        efficiency^rate_growth, at most 1.
        """
        epochs = round(self.epochs * efficiency**self.growth) + spent
        rate = min(1.0, self.learning_rate * efficiency**self.rate_growth)
        return self.model_copy(update={"epochs": epochs, "learning_rate": rate})


class EncodingPlan(Section):
    """The genetic encoding P(H_g | H_{g-1}, R_g) of a parent's weights (1709.02043 eqs. 2, 6, 7)."""

    heredity: Annotated[HeredityName, Option("--heredity")] = Field(
        "cluster", description="what decides who survives: the paper's clusters, or a rival or control"
    )
    cluster: Annotated[Literal["kernel", "filter"], Option("--cluster")] = Field(
        "kernel", description="c: the set of synapses that lives or dies together"
    )
    truncation: float = Field(
        1.0, ge=0, description="τ: synapses below τ·rms of their layer do not strengthen a cluster"
    )
    cluster_sharpness: float = Field(
        1.0, gt=0, le=500, description="β of P(s_c): 1 is the paper's, larger favours strong clusters"
    )
    synapse_sharpness: float = Field(
        1.0, gt=0, le=500, description="β of P(s_j): 1 is the paper's, larger favours strong synapses"
    )
    normaliser: Literal["max", "rms"] = Field("max", description="Z and z: a layer's largest strength, or its rms")
    spare_outputs: bool = Field(
        True,
        description="filters that can never be removed, as the classifier's, survive and are not counted as clusters",
    )

    audit: float = Field(
        0.02,
        ge=0,
        le=1,
        description="share of the filters, the weakest by estimate, that the heredities removal and sensitivity really "
        "remove, one at a time; 1: they measure everything so",
    )
    cost: Annotated[str, Option("--cost")] = Field(
        "synapses",
        pattern=r"^(synapses|macs|bytes|latency)(\+(synapses|macs|bytes|latency))*$",
        description="what the heredities removal and sensitivity divide the worth of a filter by: the living synapses, "
        "multiply-adds or bytes that go with it (synapses, macs, bytes), the time that the engine needs for it in the "
        "ancestor, measured once (latency), or the geometric mean of some, as macs+bytes",
    )

    @model_validator(mode="after")
    def _what_is_removed_is_a_filter(self) -> "EncodingPlan":
        measured = self.heredity in ("removal", "sensitivity")
        if measured and self.cluster != "filter":
            raise ValueError(f"heredity {self.heredity} measures what filters are worth: add --cluster filter")
        if not measured and self.cost != "synapses":
            raise ValueError(
                f"cost {self.cost} is what the worth of a filter is divided by, and heredity {self.heredity} does not "
                "measure it: add --heredity sensitivity or removal, with --cluster filter"
            )
        return self


class Environment(NamedTuple):
    """R = (R^c, R^s) of one generation (1709.02043 eq. 2): the shares of its parent that it is expected to keep."""

    keep_clusters: float
    keep_synapses: float
    cluster_scope: Scope = "layer"
    synapse_scope: Scope = "layer"
    multiple: int = 1

    def under(self, pressure: float) -> "Environment":
        """Return the environment that keeps k^pressure where this one keeps the share k."""
        return self._replace(keep_clusters=self.keep_clusters**pressure, keep_synapses=self.keep_synapses**pressure)

    def narrowed(self, *, clusters: float, synapses: float) -> "Environment":
        """Return the environment that keeps these shares of what this one keeps."""
        return self._replace(keep_clusters=clusters * self.keep_clusters, keep_synapses=synapses * self.keep_synapses)


class EnvironmentPlan(Section):
    """The environment R = (R^c, R^s) of every generation: how much of a parent is expected to survive in its offspring.

    Any value may be a list: one for generation 2, one for generation 3 and so on, the last one for all that follow.
    """

    keep_clusters: Annotated[OneOrMany[Share], Option("--keep-clusters", "SHARE[,SHARE…]")] = Field(
        0.95, description="R^c: expected share of the parent's clusters that survives, or a list by generation"
    )
    keep_synapses: Annotated[OneOrMany[Share], Option("--keep-synapses", "SHARE[,SHARE…]")] = Field(
        0.67, description="R^s: expected share of the parent's synapses that survives, or a list by generation"
    )
    cluster_scope: OneOrMany[Scope] = Field(
        "layer", description="one F_c for each layer, or one for all; or a list by generation"
    )
    synapse_scope: OneOrMany[Scope] = Field(
        "layer", description="one F_s for each layer, or one for all; or a list by generation"
    )
    multiple: OneOrMany[Count] = Field(
        1, description="filters live or die in groups of so many, of like strength: 8 suits most hardware; or a list"
    )

    def of(self, generation: int) -> Environment:
        """Return the environment of the offspring in a `generation`, 2 or later."""
        values = [getattr(self, name) for name in Environment._fields]
        return Environment(*(v[min(generation - 2, len(v) - 1)] if isinstance(v, tuple) else v for v in values))

    @property
    def changes(self) -> int:
        """The number of generations, from the second on, with an environment of their own."""
        values = [getattr(self, name) for name in Environment._fields]
        return max(len(value) if isinstance(value, tuple) else 1 for value in values)


class EvolutionPlan(Section):
    """The length and the targets of a lineage, its population and its parents."""

    generations: Annotated[Count, Option("--generations")] = Field(
        13, description="g: the generation to reach; the ancestor is generation 1"
    )
    max_drop: Annotated[Budget, Option("--max-drop", "BUDGET")] = Field(
        0.03,
        description="stop where validation is worse than the ancestor's by this: 0.01 in units of the score, 5% of the "
        "ancestor's score, or 1.72pt (points of accuracy or another share)",
    )
    retries: int = Field(
        2, ge=0, le=5, description="how often a generation that diverged is trained again, more gently"
    )
    population: Annotated[int, Option("--population")] = Field(
        1, ge=1, le=64, description="offspring a generation; the best on validation is the parent"
    )
    parents: Annotated[int, Option("--parents")] = Field(
        1, ge=1, le=64, description="m: so many of the best of a generation are mated for the next one"
    )
    mating: Mating = Field(
        "sum", description="how parents are mated: the weighted sum of their weights, or the product"
    )
    dominance: Share = Field(1.0, description="α: the weight of a parent in that of the next better one; 1: all alike")
    tag_share: Share = Field(0.5, description="χ: a cluster is synthesised where this share of the parents hold it")
    halving: Annotated[int, Option("--halving")] = Field(
        0,
        ge=0,
        le=64,
        description="candidates for each offspring, a power of two: all are trained for training.epochs / halving "
        "epochs, the worse half is dropped, the rest is trained twice as long, until one is left; 0: off",
    )
    adaptive: Annotated[bool, Option("--adaptive/--constant")] = Field(
        False, description="press harder while accuracy holds; over the budget, go back and press half as hard"
    )
    finest: Share = Field(
        0.97, description="an adaptive lineage stops where a step would keep more than this share of the synapses"
    )
    mutation: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the synapses expected in an offspring that grow anew, between living units",
    )
    rewind: int | None = Field(
        None,
        ge=0,
        description="offspring start from the ancestor's weights after so many epochs, not from their parent's",
    )
    protect: Annotated[str | None, Option("--protect", "REGEX")] = Field(
        None, min_length=1, description="layers whose units all stay: a regular expression found in their names"
    )
    only: Annotated[str | None, Option("--only", "REGEX")] = Field(
        None, min_length=1, description="layers that may lose units: the units of all others stay"
    )
    target_synapses: Annotated[int | None, Option("--target-synapses")] = Field(
        None, ge=1, description="stop once so few synapses are left"
    )
    target_macs: Annotated[int | None, Option("--target-macs")] = Field(
        None, ge=1, description="stop once an image costs so few multiply-adds"
    )
    target_kb: Annotated[float | None, Option("--target-kb")] = Field(
        None, gt=0, description="stop once the weights take so few kilobytes (1024 bytes)"
    )
    target_latency: Annotated[float | None, Option("--target-latency")] = Field(
        None, gt=0, description="stop once an image takes so few milliseconds in the engine"
    )
    engine: Annotated[EngineName, Option("--engine")] = Field(
        "auto", description="what measures latency; auto: the fastest installed that takes the network"
    )


class Plan(Section):
    """Every setting of a run."""

    format: int = Field(FORMAT, description="version of the run's files")
    preset: str = Field("default", description="the preset that this plan started from")
    seed: Annotated[int, Option("--seed")] = Field(0, ge=0, lt=2**32, description="the only source of randomness")
    task: TaskPlan = TaskPlan()
    data: DataPlan = DataPlan()
    ancestor: AncestorPlan = AncestorPlan()
    ancestor_training: TrainingPlan = TrainingPlan()
    training: TrainingPlan = TrainingPlan(epochs=4)
    encoding: EncodingPlan = EncodingPlan()
    environment: EnvironmentPlan = EnvironmentPlan()
    evolution: EvolutionPlan = EvolutionPlan()

    @model_validator(mode="after")
    def _the_ancestor_has_no_teacher(self) -> "Plan":
        if self.ancestor_training.distillation:
            raise ValueError("ancestor_training.distillation must be 0: the ancestor has nobody to learn from")
        return self

    @model_validator(mode="after")
    def _the_past_that_is_gone_back_to_exists(self) -> "Plan":
        if self.evolution.rewind is not None and self.evolution.rewind > self.ancestor_training.epochs:
            raise ValueError("evolution.rewind must not exceed ancestor_training.epochs")
        if self.evolution.rewind not in (None, self.ancestor_training.epochs) and self.ancestor.weights is not None:
            raise ValueError(
                "evolution.rewind must be ancestor_training.epochs for an ancestor with weights of its own: "
                "how it was trained before is not known"
            )
        return self

    @model_validator(mode="after")
    def _names_are_those_of_weights(self) -> "Plan":
        if self.ancestor.names is not None and self.ancestor.weights is None:
            raise ValueError("ancestor.names are for ancestor.weights: name their file, too")
        return self

    @model_validator(mode="after")
    def _parents_are_of_one_generation(self) -> "Plan":
        if self.evolution.parents > self.evolution.population:
            raise ValueError(
                f"evolution.parents = {self.evolution.parents} must not exceed evolution.population = "
                f"{self.evolution.population}: the parents are the best of one generation; "
                f"make it as large with --population {self.evolution.parents}"
            )
        return self

    @model_validator(mode="after")
    def _candidates_are_halved(self) -> "Plan":
        count, epochs = self.evolution.halving, self.training.epochs
        if count & (count - 1):
            raise ValueError(
                f"evolution.halving = {count} must be a power of two, since half of the candidates are dropped time "
                f"and again: --halving {1 << (count.bit_length() - 1)}"
            )
        if count > 1 and (not epochs or epochs % count):
            raise ValueError(
                f"evolution.halving = {count} trains {count} candidates for training.epochs / {count} epochs at first, "
                f"and training.epochs is {epochs}: --set training.epochs={max(1, -(-epochs // count)) * count}"
            )
        if count > 1 and self.encoding.heredity == "scratch":
            raise ValueError(
                "evolution.halving has no use for heredity scratch, which trains one offspring for as long as its "
                "whole lineage was trained: leave halving at 0"
            )
        return self

    @model_validator(mode="after")
    def _groups_are_of_filters(self) -> "Plan":
        groups = any(
            self.environment.of(generation).multiple > 1 for generation in range(2, self.environment.changes + 2)
        )
        if groups and self.encoding.cluster != "filter":
            raise ValueError("environment.multiple makes groups of filters: add --cluster filter")
        return self

    @model_validator(mode="after")
    def _clusters_bound_synapses(self) -> "Plan":
        for generation in range(2, self.environment.changes + 2):
            meets = self.environment.of(generation)
            if meets.keep_synapses > meets.keep_clusters:
                raise ValueError(
                    f"environment.keep_synapses must not exceed environment.keep_clusters (generation {generation}): "
                    "a synapse survives only within a surviving cluster"
                )
        return self
