"""axe-core looks at pages, in light and dark, as they open and with a trial's card open."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from trainatlas.report import render as rendering

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "axe-core-4.14.1" / "axe.min.js"
"""As its authors publish it (Mozilla Public License 2.0, beside it)."""
EXAMPLE = Path(__file__).resolve().parents[2] / "reports" / "example"


def violations(page: Any, part: str) -> list[str]:
    """What axe-core objects to in the first such part of a page: rule, reason, and the places of the first three."""
    found = page.evaluate("part => axe.run(document.querySelector(part), {resultTypes: ['violations']})", part)[
        "violations"
    ]
    return [f"{each['id']}: {each['help']}: {[node['target'] for node in each['nodes'][:3]]}" for each in found]


@pytest.fixture
def tiny_report(built_report: Any) -> Path:
    """The page of a small study whose every text is awkward."""
    return built_report.page


@pytest.fixture
def default_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of the default study's quick edition, from the numbers of the example, as the present templates have it."""
    shutil.copytree(EXAMPLE, tmp_path / "example")
    monkeypatch.setattr(rendering, "rendering_pdf", lambda html, attachments: nullcontext(bytes))
    return rendering.render(tmp_path / "example")[0]


@pytest.fixture
def looked_at(open_page: Any) -> Callable[[Path, str], Any]:
    def look(report: Path, scheme: str) -> Any:
        page = open_page(report.as_uri(), scheme=scheme, bypass_csp=True)  # the page allows no script but its own
        page.evaluate(AXE.read_text(encoding="utf-8"))
        return page

    return look


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("report", ["tiny_report", "default_report"])
def test_axe_finds_nothing_on_the_page_and_on_a_trials_card(
    report: str, scheme: str, looked_at: Callable[[Path, str], Any], request: pytest.FixtureRequest
) -> None:
    page = looked_at(request.getfixturevalue(report), scheme)
    assert violations(page, "body") == []
    page.locator(".trials tbody tr").first.click()
    page.locator("dialog[open]").wait_for()
    assert violations(page, "dialog") == []


def test_axe_would_find_a_picture_without_a_description(
    looked_at: Callable[[Path, str], Any], tiny_report: Path
) -> None:
    page = looked_at(tiny_report, "light")
    page.evaluate("document.querySelector('main img').removeAttribute('alt')")
    assert any(each.startswith("image-alt") for each in violations(page, "main"))
