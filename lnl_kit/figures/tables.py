"""Tables of notebooks: rows in, a styled pandas table out, with every text escaped."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from pandas.io.formats.style import Styler


def table_of(
    rows: pd.DataFrame | pd.Series | list[dict],
    caption: str = "",
    digits: int = 3,
    formats: Mapping[str, str | Callable] | None = None,
    missing: str = "",
) -> Styler:
    """A table as notebooks show it. Class names, paths and what else is text is shown as text, never as HTML.

    rows: dictionaries, or a DataFrame; its row names are shown unless they only count. digits: decimals of
    fractions. formats: {column: format} where that does not fit, such as {"seconds": "{:.0f}"}; with columns
    of several levels, the name at any of them. missing: what stands for None and NaN.

    Raises ValueError for a format of a column that does not exist. The result takes pandas' further styles,
    `table_of(rows).bar(["last"])`.
    """
    import pandas as pd

    table = rows.to_frame() if isinstance(rows, pd.Series) else pd.DataFrame(rows)
    styled = table.style.format(precision=digits, na_rep=missing, escape="html")
    for name, form in (formats or {}).items():
        columns = [c for c in table.columns if c == name or (isinstance(c, tuple) and name in c)]
        if not columns:
            raise ValueError(f"a format for column {name!r}, but there are {', '.join(map(str, table))}")
        styled = styled.format(form, subset=columns, na_rep=missing, escape="html")
    for axis in (0, 1):
        styled = styled.format_index(_short, axis=axis, escape="html")
    if isinstance(table.index, pd.RangeIndex):
        styled = styled.hide()
    return styled.set_caption(html.escape(caption)) if caption else styled


def _short(value: Any) -> Any:
    """A rate as 0.4, not 0.400000."""
    return f"{value:g}" if isinstance(value, float) else value
