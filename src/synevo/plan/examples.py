"""The sections of a plan that say what a network is for, and from which examples it learns."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from synevo.plan.kinds import Count, Deviation, Mean, Names, OneOrMany, Weights
from synevo.plan.section import Option, Section

CLASSIFICATION = "classification"
"""The task of classifying images, or other examples."""

BUILT_IN_TASKS = (CLASSIFICATION, "segmentation", "regression", "multilabel", "next-token")
"""The tasks that synevo knows by name; it reads their data itself."""


class DataPlan(Section):
    """The examples, their split, and how images are brought to the size that the network expects."""

    dataset: Annotated[str, Option("--dataset")] = Field(
        "digits",
        min_length=1,
        description="the examples: digits, a TFDS name, an .npz file, a folder, a text file (see synevo guide tasks)",
    )
    data_dir: Annotated[str | None, Option("--data-dir", "DIR")] = Field(
        None, description="folder of prepared TFDS data sets; TFDS_DATA_DIR where unset"
    )
    validation: float = Field(0.1, gt=0, lt=0.9, description="share of the images held out, stratified by class")
    held_out: Literal["train", "test"] = Field(
        "train",
        description="where from: the training images, or the test images, for an ancestor that has seen the others",
    )
    validation_split: str | None = Field(
        None,
        min_length=1,
        description="the TFDS split to decide on, or train to hold out a share; validation where there is one",
    )
    image_size: int | None = Field(
        None, ge=1, description="side in pixels that the network expects; resolved from the ancestor"
    )
    fit: Literal["auto", "none", "pad", "resize"] = Field("auto", description="how images reach that size")
    channels: Literal[1, 3] | None = Field(
        None, description="of images in a folder: 1 reads all in grey, 3 in colours; resolved where they are mixed"
    )
    damaged: Literal["stop", "leave-out"] = Field(
        "stop",
        description="at an image file that cannot be decoded: stop, or find all of them first and leave them out",
    )
    left_out: Names | None = Field(
        None, description="files that are left out, by their names in the folder; resolved where damaged is leave-out"
    )
    memory: float | None = Field(
        None,
        gt=0,
        description="GiB that decoded images may take; larger sets are read as they are needed; a quarter where unset",
    )
    disk_cache: bool = Field(
        False, description="keep the decoded images of a set that is larger than memory on disk, in $SYNEVO_CACHE"
    )
    sample: Annotated[int, Field(ge=1)] | None = Field(
        None, description="training images that mean and deviation are taken from; all, resolved for larger sets"
    )
    normalise: Literal["scale", "standardise", "none"] = Field(
        "scale", description="to [0, 1], to mean 0 and deviation 1 a channel, or not: 0 … 255 as float32"
    )
    mean: OneOrMany[Mean] | None = Field(
        None, description="your own mean of pixels scaled to 0 … 1: one number, or one for each channel"
    )
    deviation: OneOrMany[Deviation] | None = Field(
        None, description="your own deviation of pixels scaled to 0 … 1: one number, or one for each channel"
    )

    inputs: Names | None = Field(
        None, description="features of a TFDS data set that a network is given; unset: those that it names itself"
    )
    targets: Names | None = Field(
        None, description="features of a TFDS data set that are wanted of a network; unset: those that it names itself"
    )
    test_files: str | None = Field(
        None, min_length=1, description="files of the test split: a regular expression found in their names"
    )
    tile: int | None = Field(None, ge=1, description="side in pixels of the tiles that images with masks are cut into")
    context: Count = Field(64, description="tokens that a network of text takes")
    stride: int | None = Field(
        None, ge=1, description="from one tile or stretch of text of the training to the next; unset: its own size"
    )
    seconds: float | None = Field(
        None, gt=0, description="length of a recording, filled up with silence or cut; unset: the longest one's"
    )
    bands: Count = Field(40, description="mel bands of a recording's spectrogram")
    window_ms: float = Field(32.0, gt=0, description="window of a spectrogram, in milliseconds")
    hop_ms: float = Field(16.0, gt=0, description="from one window of a spectrogram to the next, in milliseconds")

    @model_validator(mode="after")
    def _numbers_are_for_scaled_pixels(self) -> "DataPlan":
        given = [name for name in ("mean", "deviation") if getattr(self, name) is not None]
        if given == ["mean"]:
            raise ValueError("a mean needs a deviation: add --set data.deviation=NUMBER (1 changes nothing)")
        if given == ["deviation"]:
            raise ValueError("a deviation needs a mean: add --set data.mean=NUMBER (0 changes nothing)")
        if given and self.normalise != "scale":
            raise ValueError(
                f"normalise {self.normalise} leaves no room for a mean and a deviation of your own, which are for "
                "scaled pixels: leave them out, or add --set data.normalise=scale"
            )
        return self


class TaskPlan(Section):
    """The task of the network."""

    name: Annotated[str, Option("--task")] = Field(
        CLASSIFICATION, min_length=1, description=f"{', '.join(BUILT_IN_TASKS)}, or package.module:problem"
    )
    score: str | None = Field(
        None, min_length=1, description="what counts as good, where a task has several scores; unset: its first one"
    )
    class_weights: Weights | None = Field(
        None, description="weights of the classes in the loss: one each, or balanced (as 1 / how often each occurs)"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of each label in the loss that is spread over all classes"
    )
    ignore: int | None = Field(
        None, ge=0, le=255, description="class of a mask whose pixels count neither in the loss nor in the score"
    )
