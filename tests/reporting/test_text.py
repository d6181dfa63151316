import math

import pytest
from lightning_marlhf.reporting.text import duration, number


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (1.005, False, "1.00"),
        (-0.001, False, "0.00"),
        (-0.001, True, "+0.00"),
        (2.0, True, "+2.00"),
        (None, False, "–"),  # noqa: RUF001
        (math.nan, False, "–"),  # noqa: RUF001
    ],
)
def test_numbers_are_rounded(value, signed, text):
    assert number(value, 2, signed=signed) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_times_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text
