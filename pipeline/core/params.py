"""A section of params.yaml becomes a typed, frozen object.

Defaults live in params.yaml alone; a class here or elsewhere never has one. (What is called without
it, from Python, has defaults of its own, which a test holds to be the same.) The class of
a section stands in the module that uses it, so that a knob of the student does not belong
to the code that a teacher's result depends on.
"""

import warnings
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError

from pipeline.core.errors import InputError, excerpt, one_line


class Params(BaseModel):
    """A section of params.yaml: frozen, strictly typed, no unknown keys, every number finite."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    def in_use(self) -> dict[str, Any]:
        """Return the values that a result depends on, by their names; JSON can write them."""
        return self.model_dump(mode="json")


Section = TypeVar("Section", bound=Params)


def read_section(path: Path, name: str, section: type[Section]) -> Section:
    """Read the section `name` of the YAML file at `path`.

    Raises:
        InputError: the file is missing or no YAML, the section is missing, or a key of
            it is unknown, missing, of the wrong type or out of range.
    """
    return check_section(str(path), name, read_values(path), section)


def check_section(path: str, name: str, values: dict[str, Any], section: type[Section]) -> Section:
    """Turn the section `name` of values that were read into an object.

    Args:
        path: where they were read, for messages.
        name: of the section.
        values: all sections.
        section: the class of the object.

    Raises:
        InputError: as of `read_section`.
    """
    if name not in values:
        raise InputError(f"{path}: section {name!r} is missing")
    if not isinstance(values[name], dict):
        raise InputError(f"{path}: {name} = {excerpt(values[name])}: should be a section with keys")
    try:
        return section.model_validate(values[name])
    except ValidationError as error:
        problems = "; ".join(_describe(section, name, detail) for detail in error.errors())
        raise InputError(f"{path}: {problems}") from None


def read_values(path: Path) -> dict[str, Any]:
    """Read a YAML file of sections, unchecked.

    Raises:
        InputError: the file is missing or no YAML, or holds no sections.
    """
    values = _read_yaml(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: should hold sections, one per stage")
    return values


def _read_yaml(path: Path) -> Any:
    # ruamel reads YAML 1.2, where 1e-4 is a number; PyYAML would give the string "1e-4".
    try:
        text = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)  # YAML allows for it
            return YAML(typ="safe", pure=True).load(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run from the folder that holds it") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}:" if mark is not None else ""
        raise InputError(f"{path}:{where} {one_line(error.problem)}") from None
    except (YAMLError, ValueError) as error:  # ValueError: a date like 2025-13-45
        raise InputError(f"{path}: {one_line(error)}") from None
    except OSError:
        raise
    except Exception as error:  # a tag that does not fit its value, or brackets without end
        what = f"{type(error).__name__}: {one_line(error)}"
        raise InputError(f"{path}: cannot be read as YAML: {what}") from None


def _describe(section: type[Params], name: str, detail: ErrorDetails) -> str:
    key = ".".join([name, *(_part(part) for part in detail["loc"])])
    if detail["type"] == "missing":
        return f"{key}: is missing"
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        return f"{key}: unknown key"
    # "Input should be less than 1" and "Value error, must ..." read on from key and value.
    message = detail["msg"].removeprefix("Input ").removeprefix("Value error, ")
    if detail["type"] == "model_type":
        message = "should be a section with keys"
    elif detail["type"] == "bool_type":
        message = "should be true or false"
    elif detail["type"] == "list_type":
        message = "should be a list"
    elif detail["type"] in ("too_short", "too_long"):
        message = message.removeprefix("List ").partition(" after validation")[0]
    elif detail["type"] != "value_error":
        message = _allowed_numbers(section, detail["loc"]) or message
    return f"{key} = {excerpt(detail['input'])}: {message}"


def _part(part: object) -> str:
    """Return a part of a key; in YAML it may be no text."""
    return part if isinstance(part, str) else excerpt(part)


def _allowed_numbers(section: type[Params], loc: tuple[int | str, ...]) -> str:
    """Say what the bounded field that `loc` leads to takes; "" if that is no such field.

    As in "should be a whole number >= 1" or "should be a number >= 0, or null".
    """
    field = None
    model: Any = section
    for part in loc:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            return ""
        # A section that may be left out is annotated as a union with None.
        kinds = (field.annotation, *get_args(field.annotation))
        model = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [
        f"{sign} {getattr(constraint, bound)}"
        for constraint in (field.metadata if field else [])
        for bound, sign in signs.items()
        if hasattr(constraint, bound)
    ]
    if field is None or not bounds:
        return ""
    types = get_args(field.annotation) or (field.annotation,)
    number = "a number" if float in types else "a whole number"
    null = ", or null" if type(None) in types else ""
    return f"should be {number} {' and '.join(bounds)}{null}"
