"""What tests of reports share."""

import pytest

from brackets import Bracketed
from trainatlas.report import language


@pytest.fixture
def bracketed(monkeypatch: pytest.MonkeyPatch) -> Bracketed:
    """Let reports say everything in brackets, whatever their language."""
    translations = Bracketed()
    monkeypatch.setattr(language, "_translations", lambda code: translations)
    return translations
