"""docs/results.md shows what was measured, or says that nothing was."""

import json
from pathlib import Path

from causvid.evaluate.tables.writing import as_text

DOCS = Path(__file__).parents[3] / "docs"
MEASURED = DOCS / "results" / "tables.json"


def test_the_document_has_the_tables_of_the_run_that_is_kept_beside_it_or_none():
    text = (DOCS / "results.md").read_text()
    shown = [line for line in text.splitlines() if line.startswith("|")]

    if not MEASURED.exists():
        assert shown == [] and text.count("\nNot measured.\n") == 6
        return
    made = as_text(json.loads(MEASURED.read_text())).splitlines()
    assert shown and set(shown) <= set(made)
