"""Names of sliders for screen readers."""

from __future__ import annotations

from pathlib import Path

import anywidget


class Named(anywidget.AnyWidget):
    """Shows nothing, and gives the sliders beside it the names that they show."""

    _esm = Path(__file__).with_name("names.js")
