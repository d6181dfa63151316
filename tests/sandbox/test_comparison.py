"""What counts as the expected output, strictly and as the official harness of APPS has it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_marlhf.sandbox.comparison import printed_matches, returned_matches

WORD = st.text("abYN01.-+eE", min_size=1)
LINE = st.lists(WORD, min_size=1).map(" ".join)
OUTPUT = st.lists(LINE, min_size=1).map("\n".join)
DEEP = 100_000


def values(*, keys):
    leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text("ab1"))
    return st.recursive(leaf, lambda inner: st.lists(inner) | st.dictionaries(keys, inner, min_size=1), max_leaves=8)


def strictly_printed(printed, expected):
    return printed_matches(printed, expected, match="strict")


def officially_printed(printed, expected):
    return printed_matches(printed, expected, match="apps")


def strictly_returned(returned, expected):
    return returned_matches(json.dumps(returned), expected, match="strict")


def officially_returned(returned, expected):
    return returned_matches(json.dumps(returned), expected, match="apps")


# Printed, strictly


@settings(deadline=None, max_examples=60)
@given(expected=OUTPUT)
def test_the_expected_output_is_right(expected):
    assert strictly_printed(expected, expected)
    assert strictly_printed(expected, expected.split("\n"))


@settings(deadline=None, max_examples=60)
@given(expected=OUTPUT, space=st.text(" \t\r\n"))
def test_white_space_at_the_end_never_matters(expected, space):
    assert strictly_printed(expected + space, expected)
    assert strictly_printed(expected, expected + space)
    assert strictly_printed(expected.replace("\n", f"{space}\n"), expected)


def test_how_words_are_spread_over_lines_does_not_matter():
    assert strictly_printed("1 2\n3\n", "1\n2 3\n")
    assert strictly_printed("1\n\n2", ["1", "2"])


@settings(deadline=None, max_examples=60)
@given(numbers=st.lists(st.integers(), min_size=1), where=st.integers(0, 99), off=st.integers().filter(bool))
def test_an_integer_that_differs_is_always_wrong(numbers, where, off):
    changed = list(numbers)
    changed[where % len(numbers)] += off
    assert not strictly_printed(" ".join(map(str, changed)), " ".join(map(str, numbers)))


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("NO\nYES\n", "YES\nNO\nYES\n"),
        ("2 1", "1 2"),
        ("1 2", "1 2 3"),
        ("1 2 3 4", "1 2 3"),
        ("", "1"),
        ("1", ""),
        ("yes", "YES"),
        ("100000000000000000", "100000000000000001"),  # equal as floats
        ("2.0", "2"),
    ],
)
def test_order_number_case_and_every_digit_of_an_integer_matter(printed, expected):
    assert not strictly_printed(printed, expected)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("0.3333333333", "0.333333"),  # off by 3e-7
        ("3", "3.0"),
        ("1000000.9", "1000000.0"),  # relative 9e-7
        ("0.0000009", "0.0"),  # below 1 absolute
        ("1e-5", "0.00001"),
        ("0.00001", "1e-05"),
        ("1.5e3", "1500.0"),
        ("-.5", "-0.50"),
        ("+2.", "2.0"),
    ],
)
def test_a_decimal_number_has_a_tolerance(printed, expected):
    assert strictly_printed(printed, expected)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("1000002.0", "1000000.0"),
        ("0.000002", "0.0"),
        ("0.1230", "0.12349"),
        ("-0.5", "0.5"),
        ("nan", "1.5"),
        ("inf", "1.5"),
        ("1.5", "nan"),
        ("1_5.0", "15.0"),
        ("\u0661.0", "1.0"),  # a digit in Python, but not here
        ("1e400", "2.0e400"),  # both infinite as floats
        ("100000", "1e5"),  # may be a name, such as a hexadecimal number
        ("2.5", "1.2.3"),
        ("infinity", "inf"),
    ],
)
def test_the_tolerance_is_for_plain_finite_numbers_alone(printed, expected):
    assert not strictly_printed(printed, expected)


def test_words_that_only_look_like_numbers_match_themselves():
    for word in ("nan", "inf", "1e5", "1e400", "1.0e400", "1.2.3", "."):
        assert strictly_printed(word, word)


@pytest.mark.parametrize("match", ["strict", "apps"])
@pytest.mark.parametrize("expected", [3, None, ["1", 2], {"a": "b"}])
def test_an_expected_output_that_is_no_text_is_an_error(expected, match):
    with pytest.raises(ValueError, match="expected a text or a list of lines"):
        printed_matches("3", expected, match=match)


# Printed, officially


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("NO\nYES\n", "YES\nNO\nYES\n"),
        ("3 2 1 1", "1 2 3"),
        ("0.1230", "0.12349"),  # 0.123 after rounding
        ("50000000000000000", "50000000000000001"),  # close
        ("a\n\nb\n", ["a", "b"]),  # blank lines of the output are dropped ...
        ("a\nb\n", "a\n\nb\n"),  # ... and of the expected output
        ("100000\n\n2\n", "100000.5\n2\n"),  # and of numbers
        ("  a", "a"),
        ("1e999\n100000", "inf\n100000.5"),
        ("1e-9\n100000", "0\n100000.5"),
        ("b a\n \n", "a b"),
        ("a\n\nb", "a\n \nb"),
        (" a\n \nb", "a\n \nb\n"),  # only white space at the ends differs
        ("inf", "1e999"),
    ],
)
def test_officially_these_wrong_outputs_are_right(printed, expected):
    assert officially_printed(printed, expected)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("1 2", "1\n2"),  # one line is one set
        ("1 2 4", "1 2 3"),
        ("yes", "YES"),
        ("0.12", "0.13"),
        ("1\n1", "2\n2"),
        ("nan", "nan x"),
        ("1", "inf"),
        ("b\na", "a\n \nb"),  # blank lines of the expected output stay
        ("0.123 5", "0.124 5"),
        ("100001.000005", "100000"),  # the tolerance is relative to the expected number
        ("", "1"),
        ("1\n", "1\n2\n"),
        ("a", "a\n \nb"),
    ],
)
def test_officially_these_outputs_are_wrong(printed, expected):
    assert not officially_printed(printed, expected)


@settings(deadline=None, max_examples=60)
@given(expected=OUTPUT)
def test_the_expected_output_is_officially_right(expected):
    assert officially_printed(expected, expected)
    assert officially_printed(f"{expected}\n", expected.split("\n"))


@settings(deadline=None, max_examples=60)
@given(pairs=st.lists(st.tuples(st.floats(allow_nan=False), st.floats(-2e-5, 2e-5)), min_size=1, max_size=3))
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # NumPy on infinite numbers
def test_one_number_a_line_is_compared_as_numpy_does(pairs):
    wanted = [number for number, _ in pairs]
    numbers = [number + number * off for number, off in pairs]
    printed, expected = ("\n".join(map(repr, each)) for each in (numbers, wanted))
    if np.allclose(numbers, wanted):
        assert officially_printed(printed, expected)
    else:  # a weaker step may still take them
        rounded = [[round(each, 3) for each in side] for side in (numbers, wanted)]
        assert officially_printed(printed, expected) == (set(rounded[0]) == set(rounded[1]))


# Returned, strictly


@settings(deadline=None, max_examples=60)
@given(expected=values(keys=st.text("ab1")))
def test_the_expected_value_is_right_bare_or_in_a_list(expected):
    assert strictly_returned(expected, expected)
    assert strictly_returned(expected, [expected])


def test_a_value_in_a_list_is_ambiguous_by_one_level_only():
    assert strictly_returned([[1]], [[1]])
    assert strictly_returned([1], [[1]])
    assert not strictly_returned(1, [[1]])
    assert not strictly_returned([[[1]]], [[1]])
    assert not strictly_returned([1], 1)
    assert not strictly_returned(1, [1, 2])  # officially right
    assert strictly_returned("ab", ["ab"])
    assert not strictly_returned([], [[1]])


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (True, 1),
        (1, True),
        (0, False),
        (None, False),
        ("3", 3),
        ("a", "A"),
        ("a ", "a"),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 1, "b": 1}),
        ({"a": 1, "b": 1}, {"a": 1}),
        ({}, []),
        ([], {}),
        ([], ""),
        (10**17, 10**17 + 1),
        (1e17, 10**17 + 1),
        (0.1 + 0.2, 3),
        (2.9999999999, 3),  # no tolerance where an integer is expected
        (3.00001, 3.0),
        (float("nan"), 1.0),
        (float("inf"), 1.0),
        (1.0, float("inf")),
        (float("inf"), -float("inf")),
        (10**400, 1.0),
    ],
)
def test_a_value_that_differs_is_wrong(returned, expected):
    assert not strictly_returned(returned, expected)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (3.0, 3),
        (3, 3.0),
        (0.1 + 0.2, 0.3),
        ([1, [0.1 + 0.2]], [[1, [0.3]]]),
        ({"a": 0.1 + 0.2}, {"a": 0.3}),
        ((1, (2, 3)), [1, [2, 3]]),
        ([1, 2], (1, 2)),
        ({1: "a", 2.5: "b", False: "c"}, {"1": "a", "2.5": "b", "false": "c"}),
        ({"1": "a", "null": "b"}, {1: "a", None: "b"}),
        (float("inf"), float("inf")),
        (float("nan"), [float("nan")]),
        (None, None),
    ],
)
def test_a_value_that_is_written_otherwise_is_right(returned, expected):
    assert strictly_returned(returned, expected)


def test_integers_longer_than_python_reads_are_exact():
    expected = 10**5_000
    assert returned_matches("1" + "0" * 5_000, expected, match="strict")
    assert returned_matches("1" + "0" * 5_000, [expected], match="apps")
    assert not returned_matches("1" + "0" * 4_999 + "1", expected, match="strict")
    assert not returned_matches("1" + "0" * 5_000, 1.5, match="strict")
    assert not returned_matches("1" + "0" * 5_000, True, match="strict")


@pytest.mark.parametrize("match", ["strict", "apps"])
@pytest.mark.parametrize(
    "hostile",
    ["[" * DEEP, "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "", "{", "1 2", "9x"],
    ids=lambda text: text[:6],
)
def test_what_cannot_be_read_is_wrong_and_no_error(hostile, match):
    assert not returned_matches(hostile, None, match=match)
    assert not returned_matches(hostile, [1], match=match)


@pytest.mark.parametrize("match", ["strict", "apps"])
def test_values_nested_as_deeply_as_json_goes_are_compared(match):
    deepest = next(depth for depth in range(950, 0, -10) if readable(depth))
    nested = "[" * deepest + "]" * deepest
    assert returned_matches(nested, json.loads(nested), match=match)


def readable(depth):
    try:
        return bool(json.loads("[" * depth + "1" + "]" * depth))
    except RecursionError:
        return False


# Returned, officially


@settings(deadline=None, max_examples=60)
@given(expected=values(keys=st.text("ab", min_size=1)))
def test_the_expected_value_is_officially_right_bare_or_in_a_list(expected):
    assert officially_returned(expected, expected)
    assert officially_returned(expected, [expected])


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (True, 1),
        (1, True),
        (1, [1, 2, 3]),  # the first item of any list will do
        ((1, 2), [1, 2]),
        (3.0, 3),
        ({1: "a"}, {"01": "a"}),  # keys are integers where all can be
        ([{1: "a"}], {"1": "a"}),
        ([{1: "a"}], [{"1": "a"}, "b"]),  # what follows is forgotten
        ({"1": 2, "b": 2}, {"1": 2, "b": 2}),
    ],
)
def test_officially_these_values_are_right(returned, expected):
    assert officially_returned(returned, expected)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (0.1 + 0.2, 0.3),
        (float("nan"), float("nan")),
        ("1", 1),
        ([1], 1),
        (2, [1, 2, 3]),
        ([{"1": "a"}, "b"], [{"1": "a"}, "b"]),
        ({"01": "a"}, {"01": "a"}),
        ([], None),
        (1, []),
    ],
)
def test_officially_these_values_are_wrong(returned, expected):
    assert not officially_returned(returned, expected)
