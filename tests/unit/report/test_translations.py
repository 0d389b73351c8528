"""Every text that reports say stands where the extractor finds it, so that the catalogues can have it."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
REPORT = ROOT / "src" / "trainatlas" / "report"


@pytest.fixture(scope="module")
def said() -> set[str]:
    """Every text that the extractor finds; of two for one and more, both."""
    spec = importlib.util.spec_from_file_location("translations", ROOT / "scripts" / "translations.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ids = [message.id for message in module.said() if message.id]
    return {text for each in ids for text in (each if isinstance(each, tuple) else (each,))}


def spoken_in(path: Path) -> Iterator[str]:
    """Yield the texts that a module hands to `tr`, `trn` and `mark`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("tr", "trn", "mark"):
            for argument in node.args[: 2 if node.func.id == "trn" else 1]:
                if isinstance(argument, ast.Constant):
                    assert isinstance(argument.value, str), (path, node.lineno)
                    yield argument.value
                else:  # what was marked elsewhere; a text put together here would be found by nobody
                    assert isinstance(argument, ast.Name | ast.Attribute | ast.Subscript | ast.Call), (
                        path,
                        node.lineno,
                    )


@pytest.mark.parametrize("path", sorted(REPORT.glob("*.py")), ids=lambda path: path.stem)
def test_texts_in_code_are_found(path: Path, said: set[str]) -> None:
    assert set(spoken_in(path)) - said == set()


@pytest.mark.parametrize("name", ["explorer.js", "explorer.html.j2", "report.html.j2"])
def test_texts_in_templates_are_plain_and_found(name: str, said: set[str]) -> None:
    source = (REPORT / "templates" / name).read_text(encoding="utf-8")
    found = re.findall(r'\btr\("([^"\\]+)"[,)]', source)
    assert len(found) == len(re.findall(r"\btr\(", source)) > 0
    assert set(found) - said == set()
