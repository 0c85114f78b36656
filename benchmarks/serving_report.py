"""Writes the results of bench_serving.py as Markdown and as a chart."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from xml.sax.saxutils import escape

from servers import Rate

CONNECTIONS = (1, 16, 64)
OURS = "freezemodel_serve.py"
SEED = "Flask's app.run, session.run"  # the usual design
NOOP = "a WSGI callable that does nothing, under the same granian"
TABLE = re.compile(r"<!-- serving benchmark -->\n.*?<!-- end of serving benchmark -->\n", re.DOTALL)


@dataclass(frozen=True)
class Pair:
    """The project's server and another one, measured in turns with `connections` connections."""

    name: str
    connections: int
    ours: Rate
    theirs: Rate

    @property
    def ratio(self) -> float:
        return self.ours.rate / self.theirs.rate


@dataclass(frozen=True)
class Figure:
    """A requirement on the server, the measured figure, and whether the requirement holds."""

    title: str
    required: str
    measured: str
    holds: bool


@dataclass
class Report:
    """The results of the benchmark so far; `conditions` name the machine, the versions and the rounds."""

    conditions: str
    pairs: list[Pair] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, figure: Figure, say: Callable[[str], None]) -> None:
        self.figures.append(figure)
        say(f"{figure.title}: {figure.measured}; required {figure.required}: {_word(figure)}")

    def at(self, name: str) -> dict[int, Pair]:
        """The pairs with this server, by connections."""
        return {pair.connections: pair for pair in self.pairs if pair.name == name}

    def names(self) -> list[str]:
        """The other servers: first the callable that does nothing, then the fastest at 16 connections."""
        names = {pair.name: pair for pair in self.pairs if pair.connections == CONNECTIONS[1]}
        return sorted(names, key=lambda name: (name != NOOP, -names[name].theirs.rate))


def _word(figure: Figure) -> str:
    return "holds" if figure.holds else "falls short"


def figures(report: Report) -> list[Figure]:
    """All figures, those computed from the pairs first."""
    found = []
    middle = CONNECTIONS[1]
    others = [name for name in report.names() if name not in (NOOP, SEED)]
    if seed := report.at(SEED):
        ratio = seed[middle].ratio
        title = f"requests/s beside {SEED}, {middle} connections"
        found.append(Figure(title, "at least 20 times", f"{ratio:.1f} times", ratio >= 20))
    if others and not report.missing:
        best = others[0]
        ratio = report.at(best)[middle].ratio
        title = f"requests/s beside the best of {', '.join(others)}, {middle} connections"
        found.append(Figure(title, "at least 12 times", f"{ratio:.1f} times {best}", ratio >= 12))
    if noop := report.at(NOOP):
        ratios = [noop[connections].ratio for connections in CONNECTIONS]
        measured = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        title = f"requests/s beside {NOOP}, {', '.join(map(str, CONNECTIONS))} connections"
        found.append(Figure(title, "at least 0.5", measured, min(ratios) >= 0.5))
    if report.pairs:
        ours = _ours(report, middle)
        title = f"99th percentile of the latency, {middle} connections"
        measured = f"{ours.p99 / ours.median:.1f} times ({ours.p99:.2f} ms)"
        found.append(Figure(title, "at most 5 times the median", measured, ours.p99 <= 5 * ours.median))
    return found + report.figures


def _ours(report: Report, connections: int) -> Rate:
    """The median of the project's server over its turns beside each other server."""
    rates = [pair.ours for pair in report.pairs if pair.connections == connections]
    return Rate(median(r.rate for r in rates), median(r.median for r in rates), median(r.p99 for r in rates))


def table(report: Report) -> str:
    """The table of requests/s by server, for the document and the README."""
    heads = " | ".join(f"{n} connection{'s' if n > 1 else ''}" for n in CONNECTIONS)
    lines = [
        f"| requests/s | {heads} | median, p99 at {CONNECTIONS[1]} | {OURS} is |",
        "| - | -: | -: | -: | -: | -: |",
    ]

    def line(name: str, rates: dict[int, Rate], ratio: str) -> None:
        numbers = " | ".join(f"{rates[n].rate:,.0f}" for n in CONNECTIONS)
        middle = rates[CONNECTIONS[1]]
        lines.append(f"| {name} | {numbers} | {middle.median:.2f}, {middle.p99:.2f} ms | {ratio} |")

    line(f"**{OURS}**", {n: _ours(report, n) for n in CONNECTIONS}, "")
    for name in report.names():
        pairs = report.at(name)
        line(name, {n: pair.theirs for n, pair in pairs.items()}, f"{pairs[CONNECTIONS[1]].ratio:.2f} times")
    return "\n".join([*lines, *(f"| {name} | not installed |" + " |" * 4 for name in report.missing)])


def markdown(report: Report) -> str:
    rows = ["| figure | required | measured | |", "| - | - | - | - |"]
    rows += [f"| {f.title} | {f.required} | {f.measured} | {_word(f)} |" for f in figures(report)]
    parts = ["# The server beside others", "`make bench` measures this and writes this page.", report.conditions]
    parts += ["\n".join(rows)]
    if report.pairs:
        parts += ["## One row a request, the toy model, one worker process each", _marked(report).rstrip("\n")]
        parts += ["![Requests a second by server](serving_benchmark.svg)"]
    return "\n\n".join(parts) + "\n"


def _marked(report: Report) -> str:
    return (
        f"<!-- serving benchmark -->\n{table(report)}\n\n"
        f"The last column is at {CONNECTIONS[1]} connections. {report.conditions}\n<!-- end of serving benchmark -->\n"
    )


def write(report: Report, project: Path) -> None:
    """Write the document and, if servers were compared, the chart and the README's table."""
    (project / "docs" / "serving_benchmark.md").write_text(markdown(report))
    if report.pairs:
        (project / "docs" / "serving_benchmark.svg").write_text(chart(report))
        readme = project / "README.md"
        readme.write_text(TABLE.sub(lambda _: _marked(report), readme.read_text()))


_WIDTH, _LEFT, _BAR, _GAP = 760, 232, 15, 16
_STYLE = """
    text { font: 13px ui-sans-serif, system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
    .paper { fill: #ffffff }
    .name { text-anchor: end } .ours { font-weight: 600 } .small { font-size: 11px; fill: #59636e }
    .c1 { fill: #b6d4f7 } .c16 { fill: #4a90e2 } .c64 { fill: #1b4f91 }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #0d1117 }
      text { fill: #e6edf3 } .small { fill: #9198a1 }
      .c1 { fill: #23466f } .c16 { fill: #4a90e2 } .c64 { fill: #a5cdf8 }
    }
"""


def chart(report: Report) -> str:
    """The chart of requests/s by server and connections, without the callable that does nothing."""
    servers = {OURS: {n: _ours(report, n).rate for n in CONNECTIONS}}
    servers |= {
        name: {n: pair.theirs.rate for n, pair in report.at(name).items()} for name in report.names() if name != NOOP
    }
    most = max(rate for rates in servers.values() for rate in rates.values())
    scale = (_WIDTH - _LEFT - 70) / most
    parts = ['<rect class="paper" width="100%" height="100%" rx="6"/>']
    x = float(_LEFT)
    for n in CONNECTIONS:
        label = f"{n} connection{'s' if n > 1 else ''}"
        parts.append(f'<rect class="c{n}" x="{x:g}" y="12" width="11" height="11" rx="2"/>')
        parts.append(f'<text x="{x + 16:g}" y="22">{label}</text>')
        x += 130
    parts.append('<text class="small name" x="222" y="22">requests a second, more is better</text>')
    y = 40
    for name, rates in servers.items():
        ours = " ours" if name == OURS else ""
        parts.append(f'<text class="name{ours}" x="{_LEFT - 10}" y="{y + 1.5 * _BAR + 4:g}">{escape(name)}</text>')
        for n in CONNECTIONS:
            width = max(rates[n] * scale, 1)
            parts.append(f'<rect class="c{n}" x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" rx="2"/>')
            text = f"{rates[n]:,.0f}"
            parts.append(f'<text class="small" x="{_LEFT + width + 6:.1f}" y="{y + _BAR - 4}">{text}</text>')
            y += _BAR
        y += _GAP
    lines = "\n  ".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}" height="{y}" role="img" '
        f'aria-label="Requests a second by server">\n  <style>{_STYLE}  </style>\n  {lines}\n</svg>\n'
    )


def replace_between(document: Path, marks: tuple[str, str], text: str) -> None:
    """Replace what stands between two lines of a document."""
    before, _, rest = document.read_text().partition(marks[0])
    document.write_text(f"{before}{marks[0]}\n\n{text}\n\n{marks[1]}{rest.partition(marks[1])[2]}")
