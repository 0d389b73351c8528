"""What tests of reports share."""

import pytest

from brackets import Bracketed
from trainatlas.report import language


@pytest.fixture
def bracketed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports say everything in brackets, whatever their language."""
    monkeypatch.setattr(language, "_translations", lambda code: Bracketed())
