"""The plot of README.md, as an SVG that brings its own background: readable
where the page is dark, and where what shows it does not know."""
from html import escape

WIDTH, LEFT, RIGHT, TOP = 760, 150, 52, 84
BAR, GAP, AXIS = 13, 10, 34

STYLE = """
text { font: 12px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.note { fill: #59636e }
.ours { font-weight: 700 }
.card { fill: #ffffff; stroke: #d1d9e0 }
.grid { stroke: #e4e8ec }
.base { stroke: #59636e; stroke-dasharray: 4 3 }
.spread { stroke: #1f2328; stroke-width: 1.2; fill: none }
.peer0 { fill: #7d8894 } .peer1 { fill: #c2cad2 }
.ours0 { fill: #e8590c } .ours1 { fill: #ffb066 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.note { fill: #9ba5b0 }
.card { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #252c35 }
.base { stroke: #9ba5b0 }
.spread { stroke: #f0f6fc }
.peer0 { fill: #77818c } .peer1 { fill: #444d58 }
.ours0 { fill: #f0660f } .ours1 { fill: #a34a10 }
}
"""


def bars(title, note, series, rows):
    """Horizontal bars from 0, in groups. A row is a name, whether it is ours, and
    for each of the two series the median, min and max, or None."""
    known = [one for _, _, values in rows for one in values if one]
    # A single round that went astray must not push all bars together.
    most = min(max(one["max"] for one in known), 1.2 * max(one["median"] for one in known))
    scale = (WIDTH - LEFT - RIGHT) / max(most, 1.0)
    bottom = TOP + len(rows) * (len(series) * BAR + GAP)
    height = bottom + AXIS
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
        f'<text class="title" x="16" y="26">{escape(title)}</text>',
        f'<text class="note" x="16" y="45">{escape(note)}</text>',
        *legend(series),
        *axis(most, scale, bottom),
    ]
    y = TOP
    for name, ours, values in rows:
        weight = ' class="ours"' if ours else ""
        middle = y + len(series) * BAR / 2 + 4
        out.append(f'<text{weight} x="{LEFT - 10}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>')
        for at, one in enumerate(values):
            if one:
                kind = f"{'ours' if ours else 'peer'}{at}"
                out += bar(kind, weight, y + at * BAR, one, scale, most)
        y += len(series) * BAR + GAP
    base = LEFT + scale
    out.append(f'<line class="base" x1="{base:.1f}" y1="{TOP - 6}" x2="{base:.1f}" y2="{bottom}"/>')
    return "\n".join([*out, "</svg>"]) + "\n"


def legend(series):
    x = 16
    for at, name in enumerate(series):
        for kind in ("ours", "peer"):
            yield f'<rect class="{kind}{at}" x="{x}" y="56" width="12" height="11"/>'
            x += 13
        yield f'<text x="{x + 5}" y="66">{escape(name)}</text>'
        x += 140


def axis(most, scale, bottom):
    """A line for each half."""
    for half in range(int(most * 2) + 1):
        x = LEFT + half / 2 * scale
        yield f'<line class="grid" x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}"/>'
        yield f'<text class="note" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{half / 2:g}</text>'


def bar(kind, weight, y, one, scale, most):
    value, low, high = (one[key] * scale for key in ("median", "min", "max"))
    cut = one["max"] > most
    high = most * scale if cut else high
    yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{value:.1f}" height="{BAR - 1}"/>'
    if one["max"] - one["min"] >= 0.005:
        middle, low, high = y + (BAR - 1) / 2, LEFT + low, LEFT + high
        ends = f"M{low:.1f} {middle - 3}v6M{low:.1f} {middle}H{high:.1f}"
        # An arrow where it goes on beyond the plot.
        ends += "m-4 -3l4 3l-4 3" if cut else f"M{high:.1f} {middle - 3}v6"
        yield f'<path class="spread" d="{ends}"/>'
        value = max(value, high - LEFT)
    yield f'<text{weight} x="{LEFT + value + 6:.1f}" y="{y + BAR - 2.5}">{one["median"]:.2f}</text>'
