"""What the documents of a run must say: the machine of its figures, its prices, the contracts beside its exports."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from synevo.errors import damaged
from synevo.files.writing import canonical, hash_of, read, read_json, write_json
from synevo.runs.rundir import RunDir

_ENDING = ".json"

_SEALED = ("format", "sha256", "input", "output", "classes", "architecture")
"""What the description of an exported file means; one of a network that is not for images has `_MORE`, too."""

_MORE = ("inputs", "outputs", "free")


class _Data(BaseModel):
    """How the images of a run are kept: what `synevo.data.findings.as_table` gives."""

    model_config = ConfigDict(extra="forbid", strict=True)

    images: int
    classes: int
    bytes: int
    budget_bytes: int
    way: Literal["resident", "streamed"]
    disk_cache: bool
    moments_from: int | str
    left_out: int


class _Machine(BaseModel):
    """The fields of machine.json; older versions did not write all of them, and none wrote others."""

    model_config = ConfigDict(extra="forbid", strict=True)

    device: str
    synevo: str = ""
    python: str = ""
    libraries: dict[str, str] = {}
    system: str = ""
    backend: str = ""
    devices: int = 1
    hosts: int = 1
    threads: int | None = None
    xla_flags: str = ""
    data: _Data | None = None


class _Timing(BaseModel):
    """A timing in milliseconds."""

    median: float
    lower: float
    upper: float


class _BenchRow(BaseModel):
    """A form of one network in what `synevo bench` measured."""

    form: str
    title: str
    network: str
    engine: str
    threads: int | None
    bytes: int | None
    score: float
    max_difference: float
    living_multiply_adds: int
    stored_multiply_adds: int
    latency_ms: dict[str, _Timing]


class _BenchForm(BaseModel):
    """What became of the saving in a form, by batch."""

    form: str
    faster: dict[str, float]
    share: dict[str, dict[str, float | None]]


class _BenchLeftOut(BaseModel):
    """A form that was left out."""

    title: str
    network: str
    reason: str


class _Bench(BaseModel):
    """What a report shows of the file that `synevo bench` keeps."""

    weights: str
    batches: tuple[int, ...]
    rows: tuple[_BenchRow, ...]
    forms: tuple[_BenchForm, ...]
    left_out: tuple[_BenchLeftOut, ...]

    @model_validator(mode="after")
    def _every_batch_is_timed(self) -> "_Bench":
        batches, forms = set(map(str, self.batches)), {one.form for one in self.forms}
        if any(set(row.latency_ms) != batches or row.form not in forms for row in self.rows):
            raise ValueError("a row lacks the times of a batch, or its form")
        return self


def require_machine(run: RunDir) -> None:
    """Raise RunError if the description of a run's machine is missing, or is none."""
    path = run.path / "machine.json"
    try:
        _Machine.model_validate(read_json(path))
    except ValidationError as error:
        wrong = error.errors()[0]
        raise damaged(path, f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from None


def exported(run: RunDir) -> list[Path]:
    """Return the exported files of a run, also those of which only the contract is left."""
    folder = run.path / "exports"
    names = {path.name.removesuffix(_ENDING) for path in folder.glob("*") if not path.name.startswith(".")}
    return [folder / name for name in sorted(names)]


def seal(contract: dict[str, Any]) -> dict[str, Any]:
    """Return the description of an exported file with a hash of all that it means."""
    return {**contract, "contract": meaning(contract)}


def meaning(contract: Mapping[str, Any]) -> str:
    """Return the hash of all that the description of an exported file means."""
    names = (*_SEALED, *(name for name in _MORE if name in contract))
    return hash_of(canonical({name: contract.get(name) for name in names}))


def require_export(run: RunDir, path: Path) -> None:
    """Raise RunError if an exported file is not the one of its contract, or the contract contradicts the network.

    Older versions wrote no hash of a contract.
    """
    beside = path.with_name(f"{path.name}{_ENDING}")
    contract = read_json(beside)
    if hash_of(read(path)) != contract.get("sha256"):
        raise damaged(path, f"it is not the file that {beside.name} describes (its hash differs)")
    if "contract" in contract and contract["contract"] != meaning(contract):
        raise damaged(beside, "it is not what was written (its hash differs)")
    generation = contract.get("generation")
    if generation not in run.compacted():
        raise damaged(beside, f"its generation {generation} is not compacted")
    expected = _interface(run.load_compact(generation)[1].get("architecture", {}))
    for about in (contract, contract.get("architecture", {})):
        if _interface(about) != expected:
            raise damaged(beside, "its input or its classes are not those of the compacted network")


def _interface(about: Any) -> tuple[Any, ...]:
    """Return what a document says of the numbers that go in and the classes that come out."""
    about = about if isinstance(about, Mapping) else {}
    given = about.get("input")
    inputs = given if isinstance(given, Mapping) else {}
    listed = about.get("inputs", about.get("arguments"))
    dtypes = [one.get("dtype") for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else None
    return inputs.get("mean"), inputs.get("deviation"), about.get("classes"), dtypes


def hash_of_compacted(run: RunDir, generation: int) -> str:
    """Return the hash of the weights of a compacted network, which tells whether figures are of this one."""
    hashes: dict[str, str] = read_json(run.compact_folder(generation) / "hashes.json")
    return hashes["weights.safetensors"]


def save_bench(run: RunDir, found: Mapping[str, Any]) -> Path:
    """Write what `synevo bench` measured of a compacted network into its run, and return the path."""
    path = run.path / "bench" / f"g{found['generation']:02d}.json"
    write_json(path, found)
    return path


def load_bench(run: RunDir, generation: int) -> dict[str, Any] | None:
    """Return what `synevo bench` measured of a compacted generation; None if nothing, or if it was compacted anew.

    Raises:
        RunError: if the file is damaged.
    """
    path = run.path / "bench" / f"g{generation:02d}.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = read_json(path)
    try:
        weights = _Bench.model_validate(found).weights
    except ValidationError as error:
        wrong = error.errors()[0]
        raise damaged(path, f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from None
    return found if weights == hash_of_compacted(run, generation) else None


Prices = dict[str, Any]
"""What the filters of each layer of a run's ancestor cost in time (`synevo.runs.prices`), as a JSON object."""

_CHECK = "sha256"


def prices_file(run: RunDir) -> Path:
    """Return the path of the prices of a run."""
    return run.path / "individuals" / "g01" / "prices.json"


def save_prices(run: RunDir, prices: Prices) -> None:
    """Write the prices of a run, with a hash of them."""
    write_json(prices_file(run), {**prices, _CHECK: hash_of(canonical(prices))})


def load_prices(run: RunDir) -> Prices | None:
    """Return the prices of a run, or None if there are none; raise RunError if they were changed."""
    path = prices_file(run)
    if not path.exists():
        return None
    prices = read_json(path)
    if prices.pop(_CHECK, None) != hash_of(canonical(prices)):
        raise damaged(path, "it was changed")
    return prices


def prices_in_words(prices: Prices) -> str:
    """Return prices in words, those of layers that lose filters together as one."""
    told = (
        f"{one['layers'][0]}{' and those tied to it' if one['layers'][1:] else ''} {one['microseconds']:.3g}"
        for one in prices["rows"]
    )
    return f"Microseconds that a filter costs in {prices['engine']['words']}: {', '.join(told)}."
