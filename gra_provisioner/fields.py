"""What the fields of configuration have in common: types of values, and tables of fields.

Each type says in its error what is allowed; :mod:`gra_provisioner.profiles` puts the file, the
field and the value before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StrictStr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from .units import parse_bound, parse_cpu, parse_duration, parse_size

if TYPE_CHECKING:
    from typing_extensions import Self

# As a Kubernetes label value (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/),
# because that is what a pod keeps its profile in.
_PROFILE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def _owner_name(name: str) -> str:
    if not name or not name.isprintable():
        raise ValueError("must be a name: a text that can be shown, and is not empty")
    return name


def _profile_name(name: str) -> str:
    if not _PROFILE_NAME.fullmatch(name):
        raise ValueError(
            "must be a name of at most 63 letters, digits, '-', '_' and '.' "
            "that begins and ends with a letter or digit"
        )
    return name


def _variable_name(name: str) -> str:
    if not _VARIABLE_NAME.fullmatch(name):
        raise ValueError(
            "must be the name of a variable: letters, digits and '_', not beginning with a digit"
        )
    return name


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    return text


def _absolute_here(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError('must be an absolute path on this host, for example "/var/lib/gra"')
    return path


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError('must be an absolute path in the runner, for example "/srv/data"')
    return path


def _positive(size: int) -> int:
    if size <= 0:
        raise ValueError("must be a size of more than 0 bytes")
    return size


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("must be a whole number, 0 or more")
    return value


Cpu = Annotated[float, BeforeValidator(parse_cpu)]
Size = Annotated[int, BeforeValidator(parse_size)]
PositiveSize = Annotated[Size, AfterValidator(_positive)]
Count = Annotated[int, BeforeValidator(_count)]
Duration = Annotated[float | None, BeforeValidator(parse_duration)]
Bound = Annotated[float, BeforeValidator(parse_bound)]
OwnerName = Annotated[StrictStr, AfterValidator(_owner_name)]
ProfileName = Annotated[StrictStr, AfterValidator(_profile_name)]
VariableName = Annotated[StrictStr, AfterValidator(_variable_name)]
Text = Annotated[StrictStr, AfterValidator(_no_nul)]
AbsolutePathHere = Annotated[Text, AfterValidator(_absolute_here)]
AbsolutePath = Annotated[Text, AfterValidator(_absolute)]


def wrong_field(field: str, rule: str) -> PydanticCustomError:
    """What is wrong with a field of a table in the light of its others."""
    return PydanticCustomError("wrong_field", "{rule}", {"field": field, "rule": rule})


class Table(BaseModel):
    """A table of a configuration whose fields are known by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _known_names(cls, data: Any) -> Any:
        # extra="forbid" would not say what is allowed.
        if isinstance(data, Mapping):
            for name in data:
                if name not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_field",
                        "unknown field",
                        {"name": str(name), "allowed": sorted(cls.model_fields)},
                    )
        return data

    def merged(self, over: Table) -> Self:
        """This table with what ``over`` sets laid over it: tables by key, all else replaced."""
        changes: dict[str, Any] = {}
        for name in over.model_fields_set & type(self).model_fields.keys():
            mine, theirs = getattr(self, name), getattr(over, name)
            if isinstance(mine, Table) and isinstance(theirs, Table):
                changes[name] = mine.merged(theirs)
            elif isinstance(mine, Mapping) and isinstance(theirs, Mapping):
                changes[name] = {**mine, **theirs}
            else:
                changes[name] = theirs
        return self.model_copy(update=changes)
