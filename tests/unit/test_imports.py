"""torch takes seconds to import: only training pays for it. pandera takes half of one: only a faulty table does."""

import pytest

STAGES = {
    "plan": "trainatlas.study.planning, trainatlas.catalogue",
    "plan of a later round": "trainatlas.analysis.selection, trainatlas.study.searches",
    "aggregate": "trainatlas.analysis.aggregate",
    "analyse": "trainatlas.analysis.analyse",
    "report": "trainatlas.report.render",
    "the Snakefile": "trainatlas.workflow, trainatlas.analysis.columns",
}


@pytest.mark.parametrize("modules", STAGES.values(), ids=STAGES)
def test_no_stage_but_training_imports_torch_and_none_imports_pandera(modules, python):
    done = python(f"import sys, {modules}; sys.exit('torch' in sys.modules or 'pandera' in sys.modules)")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("library", ["numpy", "pandas", "pydantic", "torch"])
def test_the_command_line_alone_imports_nothing_heavy(library, python):
    done = python(f"import sys, trainatlas.cli; sys.exit({library!r} in sys.modules)")
    assert done.returncode == 0, done.stderr
