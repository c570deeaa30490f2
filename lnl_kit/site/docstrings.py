"""What the reference shows of the source: docstrings as Markdown, and the comment that explains a field."""

from __future__ import annotations

import griffe

from .prose import prose


class PlainDocstrings(griffe.Extension):
    """For mkdocstrings: the kit's docstrings are plain text; a field's is the comment on its line."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        """Turns a docstring, or what stands in its place, into Markdown."""
        if obj.docstring:
            obj.docstring.value = prose(obj.docstring.value, names=True)
        elif obj.is_attribute and obj.parent is not None and obj.parent.is_class:
            _, _, comment = "".join(obj.lines[:1]).partition("  # ")
            if comment:
                obj.docstring = griffe.Docstring(prose(comment), parent=obj)
