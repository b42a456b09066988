"""What all sections of a plan have in common: they are frozen and checked, and fields may be options."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class Option:
    """Mark a field as an option of the command line: `--name`, or `--yes/--no` of a flag."""

    name: str
    metavar: str | None = None


class Section(BaseModel):
    """A frozen group of fields in which every name and every value is checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
