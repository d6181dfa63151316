from lightning_marlhf.display.document import Bullets, Cell, Note, Picture, Pictures, Response, Sample, Section, Table
from lightning_marlhf.display.markdown import escape, fenced, render_markdown


def test_everything_that_markdown_or_html_acts_on_is_disarmed():
    assert escape("<b>*a* [x](y) | `z` $1 & \\\nnext") == (r"\<b\>\*a\* \[x\](y) \| \`z\` \$1 &amp; \\ next")


def test_a_response_cannot_close_its_fence():
    text = fenced("hello\n```\n# a headline\n````")
    assert text.startswith("`````text\n")
    assert text.endswith("\n`````")


def test_a_table_is_aligned_and_its_details_follow_the_numbers():
    table = Table(("Row", "Gold"), ((Cell("a|b"), Cell("1.0", "(0 to 2)")),), caption="Mean.")
    text = render_markdown("t", [Section("s", (table,))])
    assert "| Row | Gold |\n| :-- | --: |\n| a\\|b | 1.0 (0 to 2) |\n\nMean." in text


def test_pictures_link_into_the_folder_beside_the_report():
    picture = Picture("curve", 'a "b" <c>', b"", b"", wide=True)
    text = render_markdown("t", [Section("s", (Pictures((picture,), "caption"),))])
    assert '<img src="report/curve.png" alt="a &quot;b&quot; \\<c\\>">' in text.replace("&lt;", "<")


def test_all_blocks_are_rendered_in_order():
    sample = Sample("post 1", "the post", "the truth", (Response("PPO", "short", "Gold 1.00"),))
    text = render_markdown("title", [Section("first", (Note("n"), Bullets(("b",)), sample))])
    order = ["# title", "## first", "> **Note:** n", "- b", "### post 1", "the truth", "**PPO**"]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert "**PPO** (Gold 1.00)\n\n```text\nshort\n```" in text
