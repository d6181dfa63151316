import pytest

from lightning_marlhf.display.macro_lengths import LengthGroup, draw_variance_by_length, variance_by_length
from lightning_marlhf.display.style import in_style


def drawn(groups):
    with in_style():
        figure = draw_variance_by_length(groups, title="a title")
        figure.canvas.draw()
    return figure.axes[0]


def test_the_variance_is_taken_among_macro_actions_of_equal_length():
    # length 2: 1, 3 and 5, mean 3, squares 4 + 0 + 4, over 2; length 5: twice 7; length 9: one alone has none
    found = variance_by_length([5, 2, 9, 2, 5, 2], [7.0, 1.0, 4.0, 3.0, 7.0, 5.0])
    assert found == [LengthGroup(2, 3, 4.0), LengthGroup(5, 2, 0.0)]


def test_each_length_has_one_point_with_its_count():
    axes = drawn([LengthGroup(1, 1200, 0.5), LengthGroup(10, 300, 2.0)])
    (points,) = axes.collections
    assert points.get_offsets().tolist() == [[1.0, 0.5], [10.0, 2.0]]
    assert points.get_sizes().tolist() == [200.0, 65.0]  # 20 + 180 * count / most
    assert [text.get_text() for text in axes.texts] == ["1,200", "300"]


@pytest.mark.parametrize("num", [0, 1, 512])
def test_any_number_of_lengths_can_be_drawn(num):
    axes = drawn([LengthGroup(n + 1, 2, float(n)) for n in range(num)])
    assert len(axes.collections[0].get_offsets()) == num


def test_macro_actions_and_advantages_belong_together():
    with pytest.raises(ValueError, match="shorter"):
        variance_by_length([1, 2], [0.5])
