"""Reading YAML files that users write: what is wrong with one is told in one line."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from trainatlas.study.errors import UserError

_ALLOWED = re.compile(r"^(Input|String) should (be )?")
"""How pydantic begins what is allowed."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, where PyYAML was built with it: ten times as fast."""


class _UniqueKeyLoader(_Loader):  # type: ignore[misc]
    """A safe loader that refuses a key given twice instead of keeping the last one in silence."""


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise UserError(f"line {line}: key {key!r} is no text; allowed: keys that are texts")
        if key in seen:
            raise UserError(f"line {line}: key '{key}' is given twice; allowed: once")
        seen.add(key)
    content: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return content


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_UniqueKeyLoader.add_implicit_resolver(  # YAML 1.2's floats: PyYAML takes 1e-4 for a text
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_mapping(path: Path, what: str, example: str, keys: Iterable[str]) -> dict[str, Any]:
    """Return what the YAML file at `path` says.

    Parameters
    ----------
    what, example
        Kind of the file, and one such, in words.
    keys
        The keys that it may have.

    Raises
    ------
    UserError
        When the file is missing, is no YAML or no mapping, or gives a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such {what} file; allowed: a YAML file such as {example}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a text file: {error}") from None
    try:
        given = yaml.load(text, Loader=_UniqueKeyLoader)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise UserError(f"{path}: not YAML{where}: {problem}") from None
    if not isinstance(given, dict):
        kind = "empty" if given is None else f"a {type(given).__name__}"
        raise UserError(f"{path}: is {kind}; allowed: a mapping with the keys {', '.join(keys)}")
    return given


def guess(text: str, allowed: Iterable[str]) -> str:
    """Return `(did you mean ...?)` where something allowed is near to `text`; else nothing."""
    near = difflib.get_close_matches(text, list(allowed), n=1)
    return f" (did you mean '{near[0]}'?)" if near and near[0] != text else ""


def problem_in_words(
    error: ValidationError,
    root: type[BaseModel],
    models: Mapping[str, type[BaseModel]],
    keys: Callable[[type[BaseModel]], list[str]] = lambda model: list(model.model_fields),
    tags: Collection[str] = (),
) -> str:
    """Return the first thing that is wrong with what a file says: key, value and what is allowed.

    Parameters
    ----------
    root, models
        What the whole file is checked against, and what stands under each of its keys that holds a mapping.
    keys
        Returns the keys that a file may give of a model.
    tags
        Values that tell kinds of list items apart, which pydantic puts among the keys.
    """
    # A misspelt key is missing under its right name too: the one that stands in the file comes first.
    problem = min(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    location = [str(part) for part in problem["loc"]]
    kind, message, value = problem["type"], problem["msg"], problem["input"]
    model = next((models[part] for part in reversed(location[:-1]) if part in models), root)
    for place in range(len(location) - 1, 0, -1):
        if location[place] in tags and isinstance(problem["loc"][place - 1], int):
            del location[place]
    key = ".".join(location)
    if kind == "extra_forbidden":
        allowed = keys(model)
        return f"unknown key '{key}'{guess(location[-1], allowed)}; allowed: {', '.join(allowed)}"
    if kind == "missing":
        return f"key '{key}' is missing; allowed: {', '.join(keys(model))}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = problem["ctx"]["discriminator"].strip("'")
        given = f"is {value[tag]!r}" if tag in value else "is missing"
        return f"{key}.{tag} {given}; allowed: {', '.join(tags)}"
    if kind == "too_short":
        least = problem["ctx"]["min_length"]
        message = f"a list of at least {'one' if least == 1 else least}"
    if kind == "string_too_short":
        message = "a text of at least one character"
    if kind in ("tuple_type", "dict_type", "model_type", "model_attributes_type"):
        message = "a list" if kind == "tuple_type" else "a mapping"
    if kind == "value_error":
        text = message.removeprefix("Value error, ")
        return f"{key}: {text}" if key and not text.startswith(key) else text
    shown = json.dumps(value, default=str, ensure_ascii=False)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return f"{key} is {shown}; allowed: {_ALLOWED.sub('', message)}"
