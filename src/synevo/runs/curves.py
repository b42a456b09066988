"""Curves of a lineage as an event file for TensorBoard, written while the lineage grows.

The folder holds one file, and the file holds no value twice. It is written anew when a command begins, and when
training goes back to an earlier epoch (resumed, or tried again more gently). The generations then come from the
lineage, and the epochs from the old file, up to the epoch that is trained again. So the file has all generations, even
if some commands ran without curves. It begins with the plan, which TensorBoard shows as the run's hyperparameters.
"""

import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synevo.errors import RunError
from synevo.lineage.happenings import Epoch, Grown, Happening
from synevo.lineage.individuals import Individual, Lineage, ratio
from synevo.plan.compose import flatten
from synevo.plan.fields import Plan
from synevo.runs.rundir import RunDir

_EPOCH_TAGS = ("epoch/loss", "epoch/images_per_second")
_MEASURED = tuple(
    f"generation/{name}" for name in ("validation_score", "test_score", "synaptic_efficiency", "multiply_adds")
)
"""The tags by which TensorBoard compares runs beside their plans."""
_LENGTH = struct.Struct("<Q")
_CHECKSUM = 4
"""Bytes of a checksum; one follows the length of a record, another the record."""


def require() -> None:
    """Raise RunError if tensorboardX, which writes event files, is not installed."""
    try:
        import tensorboardX  # noqa: F401, PLC0415  (an extra; loaded here, so that no epoch waits for it)
    except ImportError:
        raise RunError(
            "Event files are written by tensorboardX, which is not installed. Nothing was started.",
            remedy="pip install '.[tensorboard]', then the same command again.",
        ) from None


def record(run: RunDir, happenings: Iterator[Happening]) -> Iterator[Happening]:
    """Yield the `happenings` of a run, and write its epochs and individuals to the run's event file."""
    curves, lineage = _Curves(run), None
    try:
        for happening in happenings:
            if isinstance(happening, Epoch):
                lineage = lineage or run.load_lineage()
                curves.add_epoch(happening, lineage)
            elif isinstance(happening, Grown):
                lineage = happening.lineage
                curves.add_individual(happening.individual, lineage)
            yield happening
        if lineage is None:
            with run.writing():
                curves.begin(run.load_lineage())
    finally:
        curves.close()


def read(folder: Path) -> Iterator[Any]:
    """Yield the events in the files of a folder, the oldest first; a file ends where a record was cut short."""
    from tensorboardX.proto.event_pb2 import Event  # noqa: PLC0415  (an extra)

    for path in _files(folder):
        content, place = path.read_bytes(), 0
        while place + _LENGTH.size <= len(content):
            first = place + _LENGTH.size + _CHECKSUM
            last = first + _LENGTH.unpack_from(content, place)[0]
            place = last + _CHECKSUM
            if place <= len(content):
                yield Event.FromString(content[first:last])


class _Curves:
    """The event file of a run, begun at the first event, and again when training goes back."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._folder = run.tensorboard_folder
        self._writer: Any = None
        self._last = 0

    def add_epoch(self, epoch: Epoch, lineage: Lineage) -> None:
        """Write an epoch of the generation after `lineage`; its step is the number of all epochs so far."""
        step = _epochs(lineage) + (epoch.candidate.before if epoch.candidate else 0) + epoch.epoch
        if self._writer is None or step <= self._last:
            self.begin(lineage, before=step)
        self._last = step
        values = (epoch.loss, epoch.images / max(epoch.seconds, 1e-9))
        self._write(dict(zip(_EPOCH_TAGS, values, strict=True)), step)

    def add_individual(self, individual: Individual, lineage: Lineage) -> None:
        """Write the youngest individual of a lineage; of several in one generation, the best is drawn."""
        siblings = [one for one in lineage.individuals if one.generation == individual.generation]
        if self._writer is None or len(siblings) > 1:
            self.begin(lineage)
        else:
            self._write(_points(individual, lineage), individual.generation)

    def begin(self, lineage: Lineage, *, before: int | None = None) -> None:
        """Write the file anew: the `lineage`, and the old file's epochs, only those `before` a step if one is given."""
        from tensorboardX import RecordWriter  # noqa: PLC0415  (an extra)

        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        files = _files(self._folder)
        old = {(value.tag, event.step): event for event in read(self._folder) for value in event.summary.value}
        now, end = time.time(), before or _epochs(lineage) + 1
        unfinished = self._folder / ".unfinished"
        self._writer = RecordWriter(str(unfinished))
        self._open(now)
        for (tag, step), event in sorted(old.items(), key=lambda one: one[0]):
            if tag in _EPOCH_TAGS and step < end:
                self._writer.write(event.SerializeToString())
        for individual in lineage.line:
            step = individual.generation
            for tag, value in _points(individual, lineage).items():
                self._put(tag, value, step, old[tag, step].wall_time if (tag, step) in old else now)
        self._writer.flush()
        unfinished.replace(self._folder / _name(max([int(now), *(_stamp(path) + 1 for path in files)])))
        for path in files:
            path.unlink()

    def _open(self, now: float) -> None:
        """Write what a file begins with: its version, a start, at which TensorBoard begins anew, and the plan."""
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # noqa: PLC0415

        start = SessionLog(status=SessionLog.START)
        for event in (
            Event(wall_time=now, file_version="brain.Event:2"),
            Event(wall_time=now, step=0, session_log=start),
            *(Event(wall_time=now, step=0, summary=one) for one in _hyperparameters(self._run.load_plan())),
        ):
            self._writer.write(event.SerializeToString())

    def _write(self, values: Mapping[str, float], step: int) -> None:
        for tag, value in values.items():
            self._put(tag, value, step, time.time())
        self._writer.flush()

    def _put(self, tag: str, value: float, step: int, when: float) -> None:
        from tensorboardX.proto.event_pb2 import Event  # noqa: PLC0415
        from tensorboardX.summary import scalar  # noqa: PLC0415

        event = Event(wall_time=when, step=step, summary=scalar(tag, value))
        self._writer.write(event.SerializeToString())

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _hyperparameters(plan: Plan) -> tuple[Any, ...]:
    """Return the summaries from which TensorBoard makes its table of hyperparameters; what is unset is left out."""
    from tensorboardX.summary import hparams  # noqa: PLC0415

    known = {name: value for name, value in flatten(plan).items() if value is not None and name != "format"}
    plain = {name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in known.items()}
    found: tuple[Any, ...] = hparams(plain, dict.fromkeys(_MEASURED))
    return found


def _epochs(lineage: Lineage) -> int:
    """Return the number of epochs of a lineage so far."""
    return sum(individual.epochs for individual in lineage.individuals)


def _points(individual: Individual, lineage: Lineage) -> dict[str, float]:
    """Return the values of an individual for the curves over generations, by tag."""
    counts, scores, first = individual.counts, individual.scores, lineage.ancestor.counts
    if counts is None or scores is None or first is None:
        return {}
    values = {
        "validation_score": scores.validation,
        "test_score": scores.test,
        "synapses": counts.synapses,
        "synaptic_efficiency": ratio(first.synapses, counts.synapses),
        "kernels": counts.kernels,
        "cluster_efficiency": ratio(first.kernels, counts.kernels),
        "multiply_adds": counts.multiply_adds,
        "seconds": individual.seconds,
    }
    return {f"generation/{name}": value for name, value in values.items() if value is not None}


def _files(folder: Path) -> list[Path]:
    """Return the event files of a folder, the oldest first."""
    return sorted(folder.glob(_name("*")), key=_stamp)


def _name(stamp: object) -> str:
    return f"events.out.tfevents.{stamp}.synevo"


def _stamp(path: Path) -> int:
    """Return the number in a file's name: the second of its beginning, or a larger number."""
    number = path.name.split(".")[3]
    return int(number) if number.isdigit() else 0
