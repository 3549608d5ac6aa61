"""docs/embedded_model.md shows lines of the reports that are kept beside it, and no others."""

import json
from pathlib import Path

from causvid.evaluate.report import as_text

DOCS = Path(__file__).parents[2] / "docs"


def test_every_row_of_a_table_is_in_a_report():
    reports = [json.loads(path.read_text()) for path in (DOCS / "results" / "embedded").glob("*.json")]
    lines = {line for report in reports for line in as_text(report).splitlines()}
    shown = [line for line in (DOCS / "embedded_model.md").read_text().splitlines() if line.startswith("|")]

    assert reports and shown and set(shown) <= lines
