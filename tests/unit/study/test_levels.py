"""One level has one spelling, and whatever names no level is refused in one line."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import naming
from trainatlas.catalogue import TABLES
from trainatlas.study.errors import UserError
from trainatlas.study.levels import (
    AnyOption,
    Flag,
    Inner,
    Level,
    LevelTable,
    Option,
    OptionValue,
    Word,
    full_text,
    join_level,
    parse_level,
    split_level,
    split_parts,
)

LEVELS = [(table, level) for table in TABLES.values() for level in table.values()]
WITH_OPTIONS = [(table, level) for table, level in LEVELS if level.options]
COMBINED = [table for table in TABLES.values() if table.combine]


def numbers_of(table: LevelTable) -> list[tuple[Level, str, Option]]:
    return [
        (level, key, option)
        for level in table.values()
        for key, option in level.options.items()
        if isinstance(option, Option)
    ]


def name(value: object) -> str:
    return getattr(value, "factor", None) or getattr(value, "name", None) or str(value)


def is_allowed(option: AnyOption, value: OptionValue) -> bool:
    try:
        option.check(value)
    except ValueError:
        return False
    return True


def values_of(option: AnyOption) -> st.SearchStrategy[OptionValue]:
    if isinstance(option, Flag):
        return st.booleans()
    if isinstance(option, Word):
        return st.sampled_from(option.words)
    if isinstance(option, Inner):
        return st.sampled_from([level for level in option.table() if level not in option.without])
    if isinstance(option.default, int):
        return st.integers(int(option.low), int(option.high)).filter(lambda value: is_allowed(option, value))
    numbers = st.floats(option.low, option.high, exclude_min=option.open_low)
    return numbers | st.sampled_from(option.words) if option.words else numbers


def call(level: Level, options: Mapping[str, OptionValue], spaces: str = "") -> str:
    comma = f"{spaces},{spaces}"
    shown = (
        f"{key}{spaces}={spaces}{value if isinstance(value, str) else repr(value)}" for key, value in options.items()
    )
    return f"{level.name}({comma.join(shown)})"


@pytest.mark.parametrize(("table", "level"), LEVELS, ids=name)
def test_a_bare_name_is_canonical(table: LevelTable, level: Level) -> None:
    assert parse_level(level.name, table) == level.name


@pytest.mark.parametrize(("table", "level"), LEVELS, ids=name)
def test_every_entry_says_what_it_is_and_where_it_comes_from(table: LevelTable, level: Level) -> None:
    assert table[level.name] is level
    assert level.formula and level.source
    for option in level.options.values():
        assert option.meaning
        assert option.check(option.default) == option.default


@pytest.mark.parametrize(("table", "level"), WITH_OPTIONS, ids=name)
@settings(max_examples=25)
@given(data=st.data())
def test_spelling_order_and_defaults_do_not_matter(table: LevelTable, level: Level, data: st.DataObject) -> None:
    values = {key: data.draw(values_of(option), label=key) for key, option in level.options.items()}
    shuffled = dict(data.draw(st.permutations(list(values.items()))))
    canonical = parse_level(call(level, values), table)
    assert parse_level(call(level, shuffled, spaces=" "), table) == canonical
    assert parse_level(canonical, table) == canonical
    without_defaults = {key: value for key, value in shuffled.items() if value != level.options[key].default}
    assert parse_level(call(level, without_defaults), table) == canonical


@pytest.mark.parametrize(("table", "level"), WITH_OPTIONS, ids=name)
@settings(max_examples=25)
@given(data=st.data())
def test_the_canonical_form_holds_the_same_values(table: LevelTable, level: Level, data: st.DataObject) -> None:
    values = {key: data.draw(values_of(option), label=key) for key, option in level.options.items()}
    parsed_name, kept = split_level(parse_level(call(level, values), table))
    assert parsed_name == level.name
    assert {key: option.default for key, option in level.options.items()} | kept == values


@pytest.mark.parametrize(("table", "level"), WITH_OPTIONS, ids=name)
def test_a_value_out_of_range_is_refused_with_the_range(table: LevelTable, level: Level) -> None:
    for key, option in level.options.items():
        low, high = (option.low, option.high) if isinstance(option, Option) else (0, 0)
        flag = "1" if isinstance(option, Flag) else "True"
        for value in (high * 2 + 1, low - 1, "float('nan')", "1e999", flag, "'1'", "None", "[1]", "{}"):
            with naming(key, value):
                with pytest.raises(UserError) as caught:
                    parse_level(f"{level.name}({key}={value})", table)
                assert table.factor in str(caught.value)
                assert "allowed: " in str(caught.value)
                assert option.allowed in str(caught.value)
                assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("table", TABLES.values(), ids=name)
def test_the_ends_of_a_range_are_allowed_unless_it_says_otherwise(table: LevelTable) -> None:
    for level, key, option in numbers_of(table):
        with naming(level.name, key):
            parse_level(f"{level.name}({key}={option.high})", table)
            if option.open_low:
                with pytest.raises(UserError, match=rf"{key}.*allowed: a number in \("):
                    parse_level(f"{level.name}({key}={option.low})", table)
            else:
                parse_level(f"{level.name}({key}={option.low})", table)


@pytest.mark.parametrize("table", TABLES.values(), ids=name)
def test_a_whole_number_takes_no_fraction(table: LevelTable) -> None:
    for level, key, option in numbers_of(table):
        with naming(level.name, key):
            if isinstance(option.default, int):
                with pytest.raises(UserError, match="whole number"):
                    parse_level(f"{level.name}({key}={min(option.low + 1, option.high) + 0.5})", table)
            else:
                inside = f"{level.name}({key}={(option.low + option.high) / 2})"
                assert isinstance(split_level(parse_level(inside, table))[1].get(key, option.default), float)


@pytest.mark.parametrize("table", TABLES.values(), ids=name)
def test_what_names_no_level_is_refused_in_one_line(table: LevelTable) -> None:
    first = next(iter(table))
    for text in (
        "", " ", "nonsense", f"{first}(nonsense=1)", f"{first}(1)", f"{first}(", f"{first}(**x)", f"{first}(*x)", "1",
        "a.b", f"{first}(a=1, a=2)", f"{first}; {first}", "lambda: 0", "__import__('os')", "((", "-" * 100_000 + "1", "\0",
    ):  # fmt: skip
        with naming(text[:50]):
            with pytest.raises(UserError) as caught:
                parse_level(text, table)
            assert "allowed: " in str(caught.value)
            assert len(str(caught.value).splitlines()) == 1


@given(text=st.text())
def test_no_text_ends_otherwise_than_in_a_level_or_a_message(text: str) -> None:
    table = TABLES["activation"]
    try:
        canonical = parse_level(text, table)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert split_level(canonical)[0] in table


def test_two_levels_of_one_name_are_a_mistake_in_the_table() -> None:
    level = Level("relu", "x", "-", lambda: None)
    with pytest.raises(ValueError, match="share a name"):
        LevelTable("activation", level, level)


@pytest.mark.parametrize("table", COMBINED, ids=name)
@settings(max_examples=25)
@given(data=st.data())
def test_joined_levels_have_one_spelling_whatever_their_order(table: LevelTable, data: st.DataObject) -> None:
    names = [level for level in table if level != "none"]
    chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True), label="levels")
    if table.conflict and table.conflict(" + ".join(chosen)):
        return
    shuffled = data.draw(st.permutations(chosen), label="order")
    canonical = parse_level(" + ".join(shuffled), table)
    assert canonical == parse_level("+".join(chosen), table) == parse_level(canonical, table)
    assert split_parts(canonical) == sorted(chosen, key=list(table).index)
    assert len(table.build_parts(canonical)) == len(chosen)


@pytest.mark.parametrize("table", [table for table in TABLES.values() if not table.combine], ids=name)
def test_other_levels_cannot_be_joined(table: LevelTable) -> None:
    first, second = list(table)[:2] if len(table) > 1 else list(table) * 2
    with pytest.raises(UserError, match="no level"):
        parse_level(f"{first} + {second}", table)


def test_a_level_within_a_level_is_checked_and_spelt_like_any_other() -> None:
    table = TABLES["optimizer"]
    assert parse_level("lookahead(inner=adam(beta1=0.9))", table) == "lookahead"
    inner = parse_level("lookahead(k=10, inner=momentum( momentum = 0.5))", table)
    assert inner == "lookahead(inner=momentum(momentum=0.5), k=10)"
    assert split_level(inner) == ("lookahead", {"inner": "momentum(momentum=0.5)", "k": 10})
    for bad in ("lookahead(inner=lookahead)", "lookahead(inner=adma)", "lookahead(inner=adam(beta1=2))"):
        with pytest.raises(UserError, match=r"option 'inner' of 'lookahead' is .*; allowed: sgd, momentum") as caught:
            parse_level(bad, table)
        assert len(str(caught.value).splitlines()) == 1


def test_full_texts_spell_defaults_out() -> None:
    assert full_text("leaky_relu", TABLES["activation"]) == "leaky_relu(slope=0.01)"
    assert full_text("l2 + dropout(p=0.1)", TABLES["regularisation"]) == "l2(strength=0.0001) + dropout(p=0.1)"
    assert full_text("relu", TABLES["activation"]) == "relu"


@given(
    options=st.dictionaries(st.sampled_from("abc"), st.booleans() | st.integers() | st.sampled_from(["x", "f(y=1)"]))
)
def test_joining_undoes_splitting(options: dict[str, OptionValue]) -> None:
    assert split_level(join_level("name", options)) == ("name", options)
