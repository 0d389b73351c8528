"""Texts of tables, put together."""

from trainatlas.study.texts import worded


def test_values_stand_for_names_and_without_any_a_text_is_as_it_is():
    assert (
        worded("no run at {factor} {levels}", factor="init", levels="lsuv, {zeros}") == "no run at init lsuv, {zeros}"
    )
    assert worded("E[x^{2}] of 100 %") == "E[x^{2}] of 100 %"
