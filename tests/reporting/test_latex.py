from lightning_marlhf.display.blocks import Cell, Table, cells
from lightning_marlhf.reporting.render import escape_latex, render_latex


def test_a_table_has_the_rules_of_booktabs():
    table = Table(("Run", "Score"), ((Cell("PPO"), Cell("0.84", "(medium)")),), "A 95 % interval.")
    assert render_latex(table).splitlines() == [
        r"\begin{table}",
        r"  \centering",
        r"  \begin{tabular}{lr}",
        r"    \toprule",
        r"    Run & Score \\",
        r"    \midrule",
        r"    PPO & 0.84 {\scriptsize (medium)} \\",
        r"    \bottomrule",
        r"  \end{tabular}",
        r"  \caption{A 95 \% interval.}",
        r"\end{table}",
    ]


def test_what_latex_would_act_on_is_disarmed():
    assert escape_latex(r"50 % of \input{x} & a_b #1 $y$ ~^") == (
        r"50 \% of \textbackslash{}input\{x\} \& a\_b \#1 \$y\$ \textasciitilde{}\textasciicircum{}"
    )
    assert escape_latex("n = ∞, ±1\nnext") == r"n = $\infty$, $\pm$1 next"


def test_a_table_without_a_caption_has_none():
    assert "caption" not in render_latex(Table(("a",), (cells("b"),)))
