"""The picture of an image in the findings, for the report and the review."""

from __future__ import annotations

import base64
import io

from PIL import Image

from ..data.decode import upright
from ..data.images import open_image
from ..figures.views import png_uri
from .findings import Findings

PIXELS = 160  # of their longer side


def picture(findings: Findings, row, pixels: int = PIXELS) -> str:
    """A data URI of an image of the findings: its file made small, or the pixels that the network saw."""
    if findings.images_folder is not None:
        try:
            folder, asked = findings.images_folder, findings.summary["asked"]
            inside = None if asked.get("follow_links") else folder
            with open_image(folder / row["path"], inside, asked.get("max_pixels")) as opened:
                opened.draft("RGB", (pixels, pixels))
                image = upright(opened).convert("RGBA")
                image.thumbnail((pixels, pixels))
                flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
                if max(flat.size) <= pixels // 2:  # small ones enlarged, not smoothed
                    flat = flat.resize(
                        [side * (pixels // max(flat.size)) for side in flat.size], Image.Resampling.NEAREST
                    )
                file = io.BytesIO()
                flat.save(file, "JPEG", quality=88)
                return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
        except Exception:  # a file that Pillow cannot show is shown as it was decoded
            pass
    seen = findings.pixels(row["image"])
    return "data:," if seen is None else png_uri(seen, pixels)
