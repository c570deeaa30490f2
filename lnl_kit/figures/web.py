"""What every page of the kit shares: its style sheet, its scripts."""

from __future__ import annotations

from pathlib import Path

PLOTLY = "application/vnd.plotly.v1+json"
STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
SORT = Path(__file__).with_name("sort.js").read_text(encoding="utf-8")  # tables are sorted by a click
