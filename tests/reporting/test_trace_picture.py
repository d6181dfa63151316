import math
import random
from itertools import pairwise

from lightning_marlhf.records import TokenTrace
from lightning_marlhf.reporting.load import load_run
from lightning_marlhf.reporting.style import RowStyle, in_style
from lightning_marlhf.reporting.trace_picture import draw_trace
from lightning_marlhf.reporting.traces import KeptResponse

STYLE = RowStyle("MA-PPO", "#009E73", "-", "o")


def draw(tmp_path, completion, trace):
    run = load_run(tmp_path, stage="ma", seed=1)
    with in_style():
        figure = draw_trace(KeptResponse(run, completion, TokenTrace(**trace)), STYLE, {})
        figure.canvas.draw()
    return figure


def test_each_macro_action_has_one_background_and_one_bar_with_its_advantage(
    tmp_path, make_completion, make_trace
):
    trace = make_trace("abcdefgh", macro_length=3, score=1.0, rng=random.Random(0))
    figure = draw(tmp_path, make_completion("a"), trace)
    tokens, advantages, values = figure.axes
    assert [patch.get_width() for patch in tokens.patches] == [3, 3, 7]  # "gh<eos>" is 7 wide
    bars = [bar.get_height() for bar in advantages.patches]
    assert bars == [trace["advantages"][n] for n in (0, 3, 6)]
    assert list(values.lines[-1].get_ydata()) == trace["values"]


def test_neighbouring_macro_actions_differ_in_colour(tmp_path, make_completion, make_trace):
    trace = make_trace("abcdef", macro_length=2, score=1.0, rng=random.Random(0))
    tokens = draw(tmp_path, make_completion("a"), trace).axes[0]
    tints = [patch.get_alpha() for patch in tokens.patches]
    assert all(a != b for a, b in pairwise(tints))


def test_numbers_that_are_missing_and_signs_the_font_lacks_do_no_harm(
    tmp_path, make_completion, make_trace
):
    trace = make_trace("a$日\n$b", macro_length=2, score=1.0, rng=random.Random(0))
    nothing = [math.nan] * len(trace["tokens"])
    draw(tmp_path, make_completion("a"), trace | {"values": nothing, "advantages": nothing})
