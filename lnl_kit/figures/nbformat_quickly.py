"""`nbformat`, imported in a tenth of the time, for notebooks and for plotly, whose first figure imports it.

jsonschema, which nbformat imports, compiles a grammar of international URLs where the package rfc3987_syntax
is installed, as it is with JupyterLab. That takes seconds, and no schema of a notebook asks for such URLs.
"""

import sys

_ABSENT = "rfc3987_syntax" not in sys.modules
if _ABSENT:
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # to import it fails, as if not installed
try:
    import nbformat
finally:
    if _ABSENT:
        del sys.modules["rfc3987_syntax"]

__all__ = ["nbformat"]
