"""Blocks -> one HTML page that opens offline: pictures inside, no script, all text escaped."""

import base64
from collections.abc import Sequence
from functools import singledispatch
from html import escape as escape_html

from lightning_marlhf.display.blocks import (
    Answer,
    Block,
    Bullets,
    Cell,
    Note,
    Picture,
    Pictures,
    Sample,
    Section,
    Table,
    Text,
)
from lightning_marlhf.display.text import printable

# Nothing is loaded and nothing runs, even if some text slipped through unescaped.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --text: #1d2126; --soft: #5b646e; --line: #d9dee3;
  --page: #fff; --box: #f5f7f9; --note: #fff6df; --edge: #d99a00; --link: #0060a8; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e7ea; --soft: #a2abb4; --line: #3a4149;
  --page: #15181b; --box: #1f2428; --note: #33290f; --edge: #d99a00; --link: #7bbcf0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 1rem; color: var(--text);
  background: var(--page); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; } a { color: var(--link); }
nav { color: var(--soft); font-size: .9rem; } nav a { margin-right: .9rem; white-space: nowrap; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .94rem; }
th, td { padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: baseline; }
th { color: var(--soft); font-weight: 600; }
.right { text-align: right; white-space: nowrap; } .left { text-align: left; }
td.left { min-width: 6.5rem; } th.right { white-space: normal; }
small { color: var(--soft); } td small { display: block; } .label + small { margin-left: .5rem; }
.caption { color: var(--soft); font-size: .88rem; margin: .4rem 0 1rem; max-width: 46rem; }
.note { background: var(--note); border-left: 4px solid var(--edge); padding: .5rem .8rem;
  margin: .6rem 0; overflow-wrap: anywhere; }
.grid { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem),
  1fr)); }
img { display: block; width: 100%; height: auto; background: #fff;
  padding: .3rem; border-radius: 6px; }
.wide { margin-bottom: .8rem; } .wide img { min-width: 640px; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; padding: .6rem .7rem;
  background: var(--box); border-radius: 6px; font: .86rem/1.45 ui-monospace, monospace; }
.answers { display: grid; gap: .6rem .8rem; grid-template-columns: repeat(auto-fit, minmax(min(100%,
  15rem), 1fr)); margin-top: .5rem; }
.label { font-weight: 600; font-size: .92rem; }
"""


def render_html(title: str, sections: Sequence[Section]) -> str:
    """Return the whole page as one text."""
    links = "\n".join(
        f'<a href="#section-{n}">{_text(section.title)}</a>' for n, section in enumerate(sections)
    )
    body = "".join(_section(n, section) for n, section in enumerate(sections))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{_text(title)}</h1>\n<nav>{links}</nav>\n{body}</body>\n</html>\n"
    )


def _text(text: str) -> str:
    return escape_html(printable(text), quote=True)


def _section(index: int, section: Section) -> str:
    blocks = "".join(f"{_render(block)}\n" for block in section.blocks)
    return f'<section id="section-{index}">\n<h2>{_text(section.title)}</h2>\n{blocks}</section>\n'


@singledispatch
def _render(block: Block) -> str:
    raise TypeError(f"expected a block, got {type(block).__name__}")


@_render.register
def _(block: Text) -> str:
    return f"<p>{_text(block.text)}</p>"


@_render.register
def _(block: Note) -> str:
    return f'<p class="note">{_text(block.text)}</p>'


@_render.register
def _(block: Bullets) -> str:
    return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in block.items) + "</ul>"


@_render.register
def _(block: Table) -> str:
    sides = ["left" if n < block.num_left else "right" for n in range(len(block.header))]
    columns = list(zip(sides, block.header, strict=True))
    head = "".join(f'<th scope="col" class="{side}">{_text(text)}</th>' for side, text in columns)
    rows = "".join(
        "<tr>" + "".join(_cell(*pair) for pair in zip(sides, row, strict=True)) + "</tr>\n"
        for row in block.rows
    )
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"
    return f'<div class="scroll">{table}</div>{_caption(block.caption)}'


def _cell(side: str, cell: Cell) -> str:
    detail = f"<small>{_text(cell.detail)}</small>" if cell.detail else ""
    return f'<td class="{side}">{_text(cell.value)}{detail}</td>'


def _caption(text: str) -> str:
    return f'<p class="caption">{_text(text)}</p>' if text else ""


@_render.register
def _(block: Pictures) -> str:
    images = "".join(_image(picture) for picture in block.pictures)
    layout = "stack" if any(picture.wide for picture in block.pictures) else "grid"
    return f'<div class="{layout}">{images}</div>{_caption(block.caption)}'


def _image(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    frame = "scroll wide" if picture.wide else "scroll"
    source = f"data:image/png;base64,{data}"
    return f'<div class="{frame}"><img alt="{_text(picture.alt)}" src="{source}"></div>'


@_render.register
def _(block: Sample) -> str:
    reference = ""
    if block.reference is not None:
        reference = f'<p class="label">Reference</p><pre>{_text(block.reference)}</pre>'
    answers = "".join(_answer(answer) for answer in block.answers)
    return (
        f"<h3>{_text(block.title)}</h3><pre>{_text(block.prompt)}</pre>{reference}"
        f'<div class="answers">{answers}</div>'
    )


def _answer(answer: Answer) -> str:
    return (
        f'<div><span class="label">{_text(answer.label)}</span><small>{_text(answer.facts)}</small>'
        f"<pre>{_text(answer.response)}</pre></div>"
    )
