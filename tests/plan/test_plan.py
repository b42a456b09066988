"""The plan: every knob checked where it is turned, and told apart by name."""

from typing import Any

import pytest
from pydantic import ValidationError

from synevo.errors import PlanError
from synevo.plan.compose import change, compose, describe, flatten, validate
from synevo.plan.fields import Plan
from synevo.plan.presets import preset_names, preset_table


def test_without_a_word_the_plan_is_its_defaults() -> None:
    assert compose() == Plan()


def test_options_lie_over_the_preset_and_sets_over_both() -> None:
    plan = compose(
        preset="demo",
        options={"seed": 7, "training.epochs": 9, "training.batch_size": None},
        sets=["training.epochs=11", "ancestor.name=lenet-300-100"],
    )
    assert (plan.preset, plan.seed, plan.training.epochs) == ("demo", 7, 11)
    assert plan.ancestor.name == "lenet-300-100"
    assert plan.training.batch_size == compose(preset="demo").training.batch_size


@pytest.mark.parametrize(
    ("text", "section", "field", "value"),
    [
        ("training.epochs=5", "training", "epochs", 5),
        ("training.learning_rate = 2e-3", "training", "learning_rate", 0.002),
        ("training.flip=true", "training", "flip", True),
        ("data.dataset=fashion_mnist", "data", "dataset", "fashion_mnist"),
        ('data.dataset="a=b"', "data", "dataset", "a=b"),
        ("data.dataset=my data.npz", "data", "dataset", "my data.npz"),
        ("ancestor.name=package.module:factory", "ancestor", "name", "package.module:factory"),
        ("environment.cluster_scope=network", "environment", "cluster_scope", "network"),
    ],
)
def test_a_set_reads_numbers_truths_and_words(text: str, section: str, field: str, value: Any) -> None:
    found = getattr(getattr(compose(sets=[text]), section), field)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("section", ["training", "ancestor_training", "environment", "evolution"])
def test_setting_one_field_leaves_the_others_of_its_section_as_they_were(section: str) -> None:
    field = {"environment": "keep_clusters", "evolution": "retries"}.get(section, "batch_size")
    before, after = flatten(compose()), flatten(compose(sets=[f"{section}.{field}=1"]))
    assert {name for name in before if before[name] != after[name]} == {f"{section}.{field}"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("training.epoch=5", "training.epoch"),
        ("trainings.epochs=5", "trainings"),
        ("training.epochs.count=5", "training.epochs"),
        ("seeds=5", "seeds"),
    ],
)
def test_an_unknown_field_is_named_with_the_command_that_lists_all(text: str, name: str) -> None:
    with pytest.raises(PlanError) as error:
        compose(sets=[text])
    assert name in error.value.problem
    assert "synevo fields" in error.value.remedy


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("training.epoch=5", "training.epochs"),
        ("ancestor_training.epoch=5", "ancestor_training.epochs"),
        ("trainings.epochs=5", "training"),
        ("evolution.keep_clusters=0.5", "environment.keep_clusters"),
        ("encoding.hereditty=cluster", "encoding.heredity"),
        ("keep_synapses=0.5", "environment.keep_synapses"),
        ("seeds=5", "seed"),
        ("encoding.heredity=sensitivty", "sensitivity"),
        ("encoding.cluster=Filter", "filter"),
        ("evolution.mating=products", "product"),
        ("environment.cluster_scope=networks", "network"),
        ("environment.synapse_scope=network,layers", "layer"),
        ("data.fit=resized", "resize"),
    ],
)
def test_a_misspelled_field_section_or_choice_is_answered_with_the_one_that_was_meant(text: str, meant: str) -> None:
    with pytest.raises(PlanError) as error:
        compose(sets=[text])
    assert error.value.problem.endswith(f" Did you mean '{meant}'?")


@pytest.mark.parametrize("text", ["zzz=5", "training.zzz=5", "encoding.heredity=zzz", "evolution.mating=3", "seed=x"])
def test_a_field_or_choice_unlike_any_gets_no_suggestion(text: str) -> None:
    with pytest.raises(PlanError) as error:
        compose(sets=[text])
    assert "Did you mean" not in error.value.problem


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("seed", 2**32),
        ("data.validation", 0),
        ("data.validation", 0.9),
        ("data.image_size", 0),
        ("data.fit", "crop"),
        ("data.dataset", '""'),
        ("ancestor.name", '""'),
        ("training.epochs", -1),
        ("training.epochs", 1.5),
        ("training.growth", -0.1),
        ("training.rate_growth", 1.1),
        ("training.batch_size", 0),
        ("training.learning_rate", 0),
        ("training.learning_rate", "nan"),
        ("training.learning_rate", "fast"),
        ("ancestor_training.weight_decay", -0.1),
        ("training.precision", "float16"),
        ("training.devices", 0),
        ("training.devices", "some"),
        ("training.devices", "true"),
        ("training.shift", -1),
        ("training.shift", 9),
        ("encoding.cluster", "neuron"),
        ("encoding.truncation", -1),
        ("encoding.cluster_sharpness", 0),
        ("encoding.synapse_sharpness", "inf"),
        ("encoding.normaliser", "mean"),
        ("encoding.audit", -0.1),
        ("encoding.audit", 1.1),
        ("environment.keep_clusters", 0),
        ("environment.keep_synapses", 1.01),
        ("environment.cluster_scope", "filter"),
        ("environment.synapse_scope", "filter"),
        ("environment.keep_synapses", "[]"),
        ("evolution.generations", 0),
        ("evolution.max_drop", -0.01),
        ("evolution.retries", 6),
        ("evolution.parents", 0),
        ("evolution.mating", "mean"),
        ("evolution.tag_share", 0),
        ("evolution.dominance", 1.1),
    ],
)
def test_a_value_out_of_range_is_refused_and_its_field_named(field: str, value: Any) -> None:
    with pytest.raises(PlanError) as error:
        compose(sets=[f"{field}={value}"])
    assert error.value.problem.startswith(f"{field} = ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("environment.keep_clusters", 1),
        ("seed", 2**32 - 1),
        ("training.shift", 8),
        ("encoding.truncation", 0),
        ("encoding.audit", 0),
        ("encoding.audit", 1),
        ("evolution.max_drop", 1),
        ("evolution.retries", 0),
    ],
)
def test_the_ends_of_a_range_belong_to_it(field: str, value: Any) -> None:
    assert flatten(compose(sets=[f"{field}={value}"]))[field] == value


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(PlanError) as error:
        compose(sets=["training.epochs=-1", "seed=-1", "nonsense=1"])
    assert [line.split()[0].rstrip(":") for line in error.value.problem.splitlines()] == [
        "seed",
        "training.epochs",
        "nonsense",
    ]


def test_more_synapses_than_clusters_cannot_survive() -> None:
    with pytest.raises(PlanError, match=r"environment\.keep_synapses.*environment\.keep_clusters"):
        compose(sets=["environment.keep_synapses=0.9", "environment.keep_clusters=0.8"])
    equal = compose(sets=["environment.keep_synapses=0.8", "environment.keep_clusters=0.8"])
    assert equal.environment.keep_synapses == equal.environment.keep_clusters == 0.8


def test_there_are_no_more_parents_than_siblings() -> None:
    with pytest.raises(PlanError, match=r"evolution\.parents = 3 .* evolution\.population = 2.*--population 3"):
        compose(sets=["evolution.parents=3", "evolution.population=2"])
    assert compose(sets=["evolution.parents=3", "evolution.population=3"]).evolution.parents == 3


@pytest.mark.parametrize(
    ("sets", "remedy"),
    [
        (["evolution.halving=6"], "--halving 4"),
        (["evolution.halving=8", "training.epochs=4"], "training.epochs=8"),
        (["evolution.halving=4", "training.epochs=10"], "training.epochs=12"),
        (["evolution.halving=4", "training.epochs=0"], "training.epochs=4"),
        (["evolution.halving=4", "encoding.heredity=scratch"], "leave halving at 0"),
    ],
)
def test_candidates_that_cannot_be_halved_are_refused_with_the_number_that_can(sets: list[str], remedy: str) -> None:
    with pytest.raises(PlanError) as error:
        compose(sets=sets)
    assert remedy in f"{error.value.problem} {error.value.remedy}"


@pytest.mark.parametrize("halving", [0, 1, 2, 4])
def test_so_many_candidates_can_be_halved(halving: int) -> None:
    assert compose(sets=[f"evolution.halving={halving}"]).evolution.halving == halving


def test_a_set_without_a_value_shows_how_to_write_one() -> None:
    with pytest.raises(PlanError, match="no '='") as error:
        compose(sets=["training.epochs"])
    assert "--set training.epochs=5" in error.value.remedy


def test_a_plan_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        compose().training.epochs = 3  # type: ignore[misc]


def test_a_changed_plan_keeps_everything_else() -> None:
    plan = compose(preset="demo", sets=["training.batch_size=77", "data.image_size=16"])
    changed = change(plan, options={"seed": None, "evolution.generations": 3}, sets=["training.shift=2"])
    before, after = flatten(plan), flatten(changed)
    assert {name for name in before if before[name] != after[name]} == {"evolution.generations", "training.shift"}
    assert (changed.evolution.generations, changed.training.shift) == (3, 2)
    assert change(plan) == plan


def test_a_changed_plan_is_checked_like_a_new_one() -> None:
    with pytest.raises(PlanError, match=r"evolution\.generations"):
        change(compose(), options={"evolution.generations": 0})


def test_a_plan_written_out_and_read_again_is_the_same() -> None:
    plan = compose(preset="demo", sets=["seed=12", "data.data_dir=/tmp/x"])
    assert validate(plan.model_dump()) == plan


def test_a_list_whose_items_are_refused_is_one_problem() -> None:
    with pytest.raises(PlanError) as error:
        compose(sets=["data.mean=50,50,50", "data.deviation=1"])
    assert error.value.problem.splitlines() == [
        "data.mean.0 = '50': it is in units of pixels scaled to 0 … 1; divide a number for pixels of 0 … 255 by 255."
    ]
    with pytest.raises(PlanError, match="at least 1 item"):
        compose(sets=["data.mean=[]", "data.deviation=1"])


def test_every_field_has_a_meaning_and_a_value() -> None:
    meanings, values = describe(), flatten(compose())
    assert list(meanings) == list(values)
    assert all(len(meaning) > 10 for meaning in meanings.values())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_loads_and_says_what_it_takes_and_gives(name: str) -> None:
    plan, table = compose(preset=name), preset_table(name)
    assert plan.preset == name
    assert set(table["about"]) == {"command", "hardware", "time", "result"}
    fields = flatten(plan)
    for section, entries in table.items():
        if section != "about":
            for field, value in entries.items():
                assert fields[f"{section}.{field}"] == (tuple(value) if isinstance(value, list) else value)


def test_presets_ship_with_synevo() -> None:
    assert "demo" in preset_names()


@pytest.mark.parametrize(("name", "hint"), [("dmeo", " Did you mean 'demo'?"), ("zzz", "")])
def test_a_misspelled_preset_is_answered_with_the_one_that_was_meant(name: str, hint: str) -> None:
    with pytest.raises(PlanError) as error:
        compose(preset=name)
    assert error.value.problem == f"There is no preset {name!r}.{hint}"


def test_an_unknown_preset_is_refused_with_the_list() -> None:
    with pytest.raises(PlanError, match="nonsense") as error:
        compose(preset="nonsense")
    assert all(name in error.value.remedy for name in preset_names())


def test_an_environment_is_one_for_all_generations_or_a_list_of_which_the_last_stays() -> None:
    plan = compose(sets=["environment.keep_synapses=[0.3, 0.5]", "environment.keep_clusters=0.8"])
    met = [plan.environment.of(generation) for generation in (2, 3, 4)]
    assert [one.keep_synapses for one in met] == [0.3, 0.5, 0.5]
    assert [one.keep_clusters for one in met] == [0.8, 0.8, 0.8]
    wide = compose(sets=['environment.cluster_scope=["network", "layer"]']).environment
    assert [wide.of(generation).cluster_scope for generation in (2, 3, 4)] == ["network", "layer", "layer"]
    assert wide.of(2).synapse_scope == "layer"


def test_a_list_of_an_environment_may_be_written_without_brackets() -> None:
    plan = compose(options={"environment.keep_clusters": "0.9,0.8"}, sets=["environment.cluster_scope=network,layer"])
    assert plan.environment.keep_clusters == (0.9, 0.8)
    assert plan.environment.cluster_scope == ("network", "layer")


def test_each_environment_of_a_list_is_checked_and_the_wrong_one_is_named() -> None:
    with pytest.raises(PlanError, match=r"environment\.keep_synapses\.1 = 2"):
        compose(sets=["environment.keep_synapses=[0.5, 2]"])
    with pytest.raises(PlanError, match="generation 3"):
        compose(sets=["environment.keep_synapses=0.5", "environment.keep_clusters=[0.9, 0.4]"])


def test_a_lineage_cannot_be_rewound_to_where_its_ancestor_never_was() -> None:
    with pytest.raises(PlanError, match=r"evolution\.rewind must not exceed ancestor_training\.epochs"):
        compose(sets=["ancestor_training.epochs=3", "evolution.rewind=4"])
    assert compose(sets=["ancestor_training.epochs=3", "evolution.rewind=3"]).evolution.rewind == 3


def test_a_mean_and_a_deviation_are_one_number_or_a_list_and_come_back_from_a_file() -> None:
    plan = compose(sets=["data.mean=0.485,0.456,0.406", "data.deviation=0.25"])
    assert (plan.data.mean, plan.data.deviation) == ((0.485, 0.456, 0.406), 0.25)
    assert validate(plan.model_dump(mode="json", exclude_none=True)) == plan
    assert change(plan) == plan


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["data.mean=0.5"], "data: a mean needs a deviation: add --set data.deviation=NUMBER"),
        (["data.deviation=0.5"], "data: a deviation needs a mean: add --set data.mean=NUMBER"),
        (["data.mean=0.5", "data.deviation=0"], "data.deviation = 0: pixels are divided by it"),
        (["data.mean=0.5", "data.deviation=0.2,-1"], "data.deviation.1 = '-1': pixels are divided by it"),
        (["data.mean=123.675", "data.deviation=1"], "data.mean = 123.675: it is in units of pixels scaled to 0 … 1;"),
        (["data.mean=0.5", "data.deviation=58.4"], "data.deviation = 58.4: it is in units of pixels scaled to 0 … 1;"),
        (["data.mean=-0.1", "data.deviation=1"], "data.mean = -0.1: "),
        (["environment.multiple=1,8"], "environment.multiple makes groups of filters: add --cluster filter"),
        (["environment.multiple=0", "encoding.cluster=filter"], "environment.multiple = 0"),
        (["data.mean=grey", "data.deviation=1"], "data.mean = 'grey': "),
        (["data.mean=0", "data.deviation=1", "data.normalise=none"], "add --set data.normalise=scale"),
        (["data.mean=0", "data.deviation=1", "data.normalise=standardise"], "add --set data.normalise=scale"),
        (
            ["training.optimiser=sgd"],
            "training.optimiser = 'sgd': adam is built in; one of your own is named as package",
        ),
        (
            ["training.optimiser=mine:"],
            "training.optimiser = 'mine:': a function of your own is named as package.module:",
        ),
        (["training.augment=mine"], "training.augment = 'mine': a function of your own is named as package.module:"),
        (["training.optimiser=a:b", "training.weight_decay=0.1"], "training: schedule and weight decay are part of"),
        (["ancestor_training.optimiser=a:b", "ancestor_training.schedule=constant"], "ancestor_training: schedule and"),
    ],
)
def test_what_cannot_normalise_or_train_is_refused_with_the_remedy(sets: list[str], words: str) -> None:
    with pytest.raises(PlanError) as error:
        compose(sets=sets)
    assert words in error.value.problem
    assert "{" not in error.value.problem
