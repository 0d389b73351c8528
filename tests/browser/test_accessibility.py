"""axe-core looks at the page, in light and dark, as it opens and with a trial's card open."""

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

AXE = Path(__file__).parent / "axe-core-4.14.1" / "axe.min.js"
"""As its authors publish it (Mozilla Public License 2.0, beside it)."""


def violations(page: Any) -> list[str]:
    """What axe-core objects to: rule, reason, and the places of the first three."""
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{each['id']}: {each['help']}: {[node['target'] for node in each['nodes'][:3]]}" for each in found]


@pytest.fixture(params=["light", "dark"])
def looked_at(request: Any, open_page: Any, built_report: Any) -> Any:
    page = open_page(
        built_report.page.as_uri(), scheme=request.param, bypass_csp=True
    )  # the page allows no script but its own
    page.evaluate(AXE.read_text(encoding="utf-8"))
    return page


def test_axe_finds_nothing_on_the_page(looked_at: Any) -> None:
    assert violations(looked_at) == []


def test_axe_finds_nothing_on_a_trials_card(looked_at: Any) -> None:
    looked_at.locator(".trials tbody tr").first.click()
    looked_at.locator("dialog[open]").wait_for()
    assert violations(looked_at) == []


def test_axe_would_find_a_picture_without_a_description(looked_at: Any) -> None:
    looked_at.evaluate("document.querySelector('main img').removeAttribute('alt')")
    assert any(each.startswith("image-alt") for each in violations(looked_at))
