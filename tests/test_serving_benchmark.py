"""The results of `make bench`: the README and the chart show the numbers of the document."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import serving_report
from conftest import PROJECT
from servers import Rate
from serving_report import CONNECTIONS, NOOP, SEED, TABLE, Figure, Pair, Report

README = (PROJECT / "README.md").read_text()
DOCUMENT = (PROJECT / "docs" / "serving_benchmark.md").read_text()


def measured() -> Report:
    report = Report("Measured somewhere.")
    for name, rate in ((SEED, 500.0), ("Fast & <new> 1.0", 1_000.0), ("Slow 2.0", 600.0), (NOOP, 30_000.0)):
        for n in CONNECTIONS:
            report.pairs.append(Pair(name, n, Rate(12_000.0, 1.0, 4.0), Rate(rate, 2.0, 9.0)))
    report.figures.append(Figure("1,000 rows", "at least 1.5 times", "1.20 times", False))
    return report


def test_the_readme_and_the_document_have_the_same_table() -> None:
    assert TABLE.findall(README) == TABLE.findall(DOCUMENT)
    assert "freezemodel_serve.py" in TABLE.findall(README)[0]


def test_the_chart_shows_the_numbers_of_the_document() -> None:
    svg = ElementTree.parse(PROJECT / "docs" / "serving_benchmark.svg")
    shown = [text for element in svg.iter() if (text := element.text) and text.replace(",", "").isdigit()]
    assert len(shown) >= 2 * len(CONNECTIONS)
    assert all(f" {number} " in DOCUMENT for number in shown)


def test_a_figure_says_whether_its_requirement_holds() -> None:
    words = {
        figure.title.partition(",")[0]: (figure.measured, figure.holds) for figure in serving_report.figures(measured())
    }
    assert words == {
        f"requests/s beside {SEED.partition(',')[0]}": ("24.0 times", True),
        "requests/s beside the best of Fast & <new> 1.0": ("12.0 times Fast & <new> 1.0", True),
        f"requests/s beside {NOOP.partition(',')[0]}": ("0.40, 0.40, 0.40", False),
        "99th percentile of the latency": ("4.0 times (4.00 ms)", True),
        "1": ("1.20 times", False),
    }


def test_no_best_server_is_named_if_one_was_not_measured() -> None:
    report = measured()
    report.missing.append("Other")
    assert "best of" not in serving_report.markdown(report)
    assert "| Other | not installed |" in serving_report.table(report)


def test_document_readme_and_chart_are_written(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("a\n<!-- serving benchmark -->\nold\n<!-- end of serving benchmark -->\nb\n")
    serving_report.write(measured(), tmp_path)
    document = (tmp_path / "docs" / "serving_benchmark.md").read_text()
    readme = (tmp_path / "README.md").read_text()
    assert readme == f"a\n{TABLE.findall(document)[0]}b\n"
    assert "| **freezemodel_serve.py** | 12,000 | 12,000 | 12,000 | 1.00, 4.00 ms |" in readme
    assert readme.index("Fast & <new>") < readme.index("Slow 2.0")
    chart = ElementTree.parse(tmp_path / "docs" / "serving_benchmark.svg")
    assert "Fast & <new> 1.0" in [element.text for element in chart.iter()]
