"""A pack that was given up keeps no study from its report, which says what the last attempt at it said."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from trainatlas.analysis.aggregate import aggregate
from trainatlas.analysis.analyse import analyse, read_gathered, write_analysis
from trainatlas.analysis.selection import chosen_settings
from trainatlas.catalogue import structure
from trainatlas.data.prepare import prepare
from trainatlas.report import render as rendering
from trainatlas.report.render import write_report
from trainatlas.study.dealing import Labour
from trainatlas.study.planning import pack_path, plan_round, read_pack
from trainatlas.train.checkpoints import Keeping
from trainatlas.train.pack import give_up, train_pack

CPU = torch.device("cpu")
WHY = "job 17 on n3 failed: no space left on device"


@pytest.mark.slow
@pytest.mark.parametrize("lost_in", [1, 2])
def test_the_report_lists_the_trials_of_a_pack_that_was_given_up(
    lost_in: int, tiny: dict[str, Any], study_of: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "rendering_pdf", lambda html, attachments: nullcontext(html.encode))
    study, results = study_of(tiny), tmp_path / "results"
    prepare(study, results)

    def train(packs: list[str], losing: bool) -> None:
        for number, pack in enumerate(packs):
            out, content = results / "raw" / pack, read_pack(pack_path(results, pack))
            if losing and number == 0:
                give_up(content, out, CPU, 0.0, lambda line: None, Keeping(), WHY)
            else:
                train_pack(content, out, CPU, 0.0, lambda line: None)

    labour = Labour(2, 0.001)
    train(plan_round(study, results, 1, structure, labour=labour)["packs"], lost_in == 1)
    chosen = chosen_settings(study, results)
    train(plan_round(study, results, 2, structure, chosen=chosen, labour=labour)["packs"], lost_in == 2)
    aggregate(study, results)
    lost = pd.read_csv(results / "trials.csv").query("status == 'failed'")
    assert 0 < len(lost) < 70 and set(lost["error"]) == {WHY}
    write_analysis(analyse(study, read_gathered(study, results)), results)
    write_report(study, results, tmp_path / "report")
    for name in ("index.html", "report.pdf"):  # the latter's HTML: rendering it takes most of the time
        assert WHY in (tmp_path / "report" / name).read_text(encoding="utf-8")
