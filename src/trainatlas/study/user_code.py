"""Levels of the user's own: `path.py:function`, a function or class in a file outside the package.

Planning reads such a file without running it. Its text travels in the packs, and its digest is part of
a trial's identity: a job trains what was planned, wherever it runs, and an edited file trains anew.
The file is run once a process, when a level of it is first built.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainatlas.study.errors import UserError

_USER_LEVEL = re.compile(r"^(?P<path>[^():]+\.py):(?P<call>.+)$", re.DOTALL)

_sources: dict[str, str] = {}
_modules: dict[str, types.ModuleType] = {}


def is_user_level(name: str) -> bool:
    """Return whether a level's name is of the form `path.py:function`."""
    return _USER_LEVEL.match(name) is not None


def split_path(text: str) -> tuple[str, str]:
    """Split `path.py:call` into "path.py:" and "call"; the first is empty where there is no path."""
    match = _USER_LEVEL.match(text.strip())
    return (f"{match['path'].strip()}:", match["call"]) if match else ("", text)


def register(sources: Mapping[str, str]) -> None:
    """Make files known to this process: their text by the path that levels name them with."""
    for path, source in sources.items():
        if _sources.get(path) != source:
            _modules.pop(path, None)
        _sources[path] = source


def read(path: str, folder: Path) -> str:
    """Read and register the file `path`, relative to `folder`, the study's own; return its text.

    Raises UserError naming the file where it cannot be read or is no Python.
    """
    try:
        source = (folder / path).read_text(encoding="utf-8")
        ast.parse(source)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file in {folder}; allowed: a Python file beside the study") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a text file: {error}") from None
    except SyntaxError as error:
        raise UserError(f"{path}: is no Python (line {error.lineno}: {error.msg})") from None
    register({path: source})
    return source


@functools.lru_cache(maxsize=4096)
def path_of(level: str) -> str | None:
    """Return the path of the file that a level names, or None."""
    match = _USER_LEVEL.match(level)
    return match["path"] if match else None


def digest(source: str) -> str:
    """Return 12 hexadecimal digits of SHA-256 over a file's text."""
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def digest_of(level: str) -> str:
    """Return the digest of the file that a level names; empty for a level of the catalogue."""
    path = path_of(level)
    return digest(_sources[path]) if path is not None else ""


def sources_of(levels: Mapping[str, str]) -> dict[str, str]:
    """Return the text of every user's file that a trial's levels (text by factor) name, by path."""
    paths = sorted({path for path in map(path_of, levels.values()) if path is not None})
    return {path: _sources[path] for path in paths}


def digests(levels: Mapping[str, str]) -> str:
    """Return the digests of the user's files that a trial's levels name, one space between; empty for none."""
    if not any(map(path_of, levels.values())):
        return ""
    return " ".join(digest(source) for source in sources_of(levels).values())


def checked_options(name: str, given: Mapping[str, object], of_function: int = 1, of_class: int = 0) -> dict[str, Any]:
    """Check a level's options against the function's signature, without running the file.

    Parameters
    ----------
    name
        `path.py:function`; the file must have been read.
    given
        Options by name.
    of_function, of_class
        How many arguments a function, and a class, is given before its options.

    Raises
    ------
    UserError
        When the file has no such function or class, or the function no such option, or a value
        is neither number, truth value nor word.
    """
    path, function = name.split(".py:", 1)
    path += ".py"
    if path not in _sources:
        raise UserError(f"{path}: has not been read; allowed: a Python file beside the study")
    body = ast.parse(_sources[path]).body
    defined = {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    if function not in defined:
        raise UserError(f"{path}: has no function '{function}'; allowed: {', '.join(defined) or 'none is defined'}")
    node = defined[function]
    first = of_function if isinstance(node, ast.FunctionDef) else 1 + of_class
    parameters = _parameters(node, first)
    for key, value in given.items():
        if key not in parameters:
            raise UserError(f"{path}: '{function}' has no option '{key}'; allowed: {', '.join(parameters) or 'none'}")
        if not isinstance(value, bool | int | float | str):
            raise UserError(f"{path}: option '{key}' of '{function}' is {value!r}; allowed: a number, a word or a flag")
    return {key: given[key] for key in parameters if key in given}


def _parameters(node: ast.FunctionDef | ast.ClassDef, first: int) -> list[str]:
    """Return the names of the parameters of a function, or of a class's `__init__`, from the `first` on."""
    if isinstance(node, ast.ClassDef):
        found = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
        if not found:
            return []
        node = found[0]
    arguments = node.args
    return [each.arg for each in [*arguments.posonlyargs, *arguments.args][first:] + arguments.kwonlyargs]


def load(name: str) -> Any:
    """Return the object that `path.py:function` names, running its file if this process has not yet.

    Raises UserError naming the file where running it fails.
    """
    path, function = name.split(".py:", 1)
    path += ".py"
    if path not in _modules:
        module = types.ModuleType(f"trainatlas_user_{digest(path)}")
        module.__file__ = path
        sys.modules[module.__name__] = module  # as import does: classes look their own module up
        try:
            exec(compile(_sources[path], path, "exec"), module.__dict__)
        except Exception as error:
            raise UserError(f"{path}: cannot be run: {type(error).__name__}: {error}") from None
        _modules[path] = module
    return getattr(_modules[path], function)
