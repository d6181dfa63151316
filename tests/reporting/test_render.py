import base64
from html.parser import HTMLParser

from lightning_marlhf.display.document import (
    Bullets,
    Cell,
    Note,
    Picture,
    Pictures,
    Response,
    Sample,
    Section,
    Table,
    Text,
    cells,
)
from lightning_marlhf.reporting.render import escape_latex, render_html, render_latex

ATTACK = "</pre><script>alert(1)</script><img src=x onerror='y'>\"&amp;"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_untrusted_text_stays_text_wherever_it_stands():
    sections = [
        Section(
            ATTACK,
            (
                Text(ATTACK),
                Note(ATTACK),
                Bullets((ATTACK,)),
                Table((ATTACK,), ((Cell(ATTACK, ATTACK),),), caption=ATTACK),
                Pictures((Picture("p", ATTACK, b"", b""),), ATTACK),
                Sample(ATTACK, ATTACK, ATTACK, (Response(ATTACK, ATTACK, ATTACK),)),
            ),
        )
    ]
    page = Page(render_html(ATTACK, sections))
    assert "script" not in page.tags
    assert page.tags.count("img") == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    # the page's title and headline; the section's link and headline; one text, note and bullet;
    # the table's four; the pictures' caption; the sample's six
    assert "".join(page.text).count(ATTACK) == 4 + 3 + 4 + 1 + 6
    assert ("alt", ATTACK) in page.attributes
    assert page.open == []


def test_pictures_are_inside_and_nothing_is_loaded():
    picture = Picture("p", "alt", b"\x89PNG", b"<svg/>")
    html = render_html("t", [Section("s", (Pictures((picture,), "c"),))])
    sources = [value for name, value in Page(html).attributes if name in ("src", "href")]
    encoded = base64.b64encode(b"\x89PNG").decode()
    assert sources == ["#section-0", f"data:image/png;base64,{encoded}"]
    assert "http:" not in html
    assert "https:" not in html
    assert "default-src 'none'" in html


def test_numbers_stand_on_the_right_and_labels_on_the_left():
    table = Table(("Row", "Gold"), ((Cell("PPO"), Cell("1.0", "± 0.1")),))
    html = render_html("t", [Section("s", (table,))])
    assert '<td class="left">PPO</td><td class="right">1.0<small>± 0.1</small></td>' in html


def test_the_page_fits_a_phone_and_knows_light_and_dark():
    html = render_html("t", [])
    assert 'name="viewport" content="width=device-width' in html
    assert "prefers-color-scheme: dark" in html


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
