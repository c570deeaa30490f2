"""The single operations: each takes a batch of uint8 images and one magnitude per image.

Every kernel gives, for each image, what `torchvision.transforms.v2.functional` gives for that image alone,
whatever else is in the batch: a result is bitwise the same in any chunk and with any number of threads. So no
kernel may depend on the order of a floating-point sum, and sums are therefore sums of whole numbers.

Two things shape the arithmetic. A call on a few small images is mostly overhead, so all images that need the
same kind of operation go together. And on a CPU PyTorch converts float32 to uint8, compares and scatters
uint8 slowly, so these kernels go through int16, shift sign bits and gather instead.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..wide import wide

OPERATIONS = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize", "Invert", "Hue",
)  # fmt: skip
CODE = {name: code for code, name in enumerate(OPERATIONS)}
# Operations that one call handles together, whatever their mixture: fewer, larger groups.
_FAMILIES = (
    ("Identity",), ("TranslateX", "TranslateY"), ("ShearX", "ShearY", "Rotate"), ("Brightness",), ("Color",),
    ("Contrast",), ("Sharpness",), ("Posterize",), ("Solarize",), ("AutoContrast",), ("Equalize",),
    ("Invert",), ("Hue",),
)  # fmt: skip
_FAMILY_OF = torch.tensor(
    [next(i for i, names in enumerate(_FAMILIES) if name in names) for name in OPERATIONS]
)


def apply_operations(
    x: Tensor,
    op: Tensor,
    magnitude: Tensor,
    interpolation: str = "nearest",
    fill: int = 0,
    source: Tensor | None = None,
) -> Tensor:
    """Apply to every image its own sequence of operations, one after the other.

    x: uint8 (N, C, H, W). op: CPU int64 (M, D), positions in `OPERATIONS`, for D steps. magnitude: CPU
    float32 (M, D), with torchvision's meaning: shear as a slope, translation in pixels (the fraction is
    dropped), rotation in degrees, Brightness, Color, Contrast and Sharpness as the factor minus one,
    Posterize in bits kept, Solarize as the grey level from which pixels are inverted, Hue in turns; unused by
    the others.
    source: CPU int64 (M,), which image of x each row starts from; by default row i is image i and M = N.
    interpolation: "nearest" or "bilinear". fill: grey level of pixels from outside the image.
    Returns uint8 (M, C, H, W).
    """
    place = torch.arange(op.shape[0])  # which row of the result sits at each position now
    held = place if source is None else source  # and where its image is in x
    family = _FAMILY_OF[op]
    for step in range(op.shape[1]):
        # Bring images with the same kind of operation together: every group is then a slice of memory.
        kind, order = family[place, step].sort(stable=True)
        counts = torch.bincount(kind, minlength=len(_FAMILIES)).tolist()
        if counts[0] == len(place):
            continue
        place = place[order]
        x = x.index_select(0, held[order].to(x.device, non_blocking=True))
        held = torch.arange(len(place))
        code, m = op[place, step], magnitude[place, step]
        m_device = m.to(x.device, non_blocking=True)
        start = counts[0]
        for names, count in zip(_FAMILIES[1:], counts[1:], strict=True):
            if count:
                part = slice(start, start + count)
                x[part] = _apply_family(
                    names[0], x[part], code[part], m[part], m_device[part], interpolation, fill
                )
                start += count
    back = torch.empty_like(place)
    back[place] = held
    return x.index_select(0, back.to(x.device, non_blocking=True))


def operation(
    x: Tensor, name: str, magnitude: Tensor, interpolation: str = "nearest", fill: int = 0
) -> Tensor:
    """One named operation on uint8 (N, C, H, W); magnitude: CPU float32 (N,), units as in apply_operations.

    Raises ValueError for a name that is not in OPERATIONS.
    """
    if name not in CODE:
        raise ValueError(f"operation {name!r} is unknown; the operations are {', '.join(OPERATIONS)}")
    op = torch.full((len(x), 1), CODE[name])
    return apply_operations(x, op, magnitude[:, None], interpolation, fill)


def _apply_family(
    first: str, x: Tensor, code: Tensor, m_cpu: Tensor, m: Tensor, interpolation: str, fill: int
):
    if first == "TranslateX":
        shift = m_cpu.trunc().long()
        return window(
            x, -shift * (code == CODE["TranslateY"]), -shift * (code == CODE["TranslateX"]), fill=fill
        )
    if first == "ShearX":
        return _affine(x, code, m_cpu, interpolation, fill)
    return _COLOUR[first](x, m)


# --- geometry


def window(
    x: Tensor,
    top: Tensor,
    left: Tensor,
    flip: Tensor | None = None,
    size: tuple[int, int] | None = None,
    fill: int = 0,
) -> Tensor:
    """Cut a window out of every image, then mirror it left to right where `flip` is true.

    x: uint8 (N, C, H, W). top, left: CPU int64 (N,), the corner in pixels; outside of the image everything is
    `fill`.
    flip: CPU bool (N,). size: (height, width) of the window, by default (H, W).
    """
    n, channels, height, width = x.shape
    out_h, out_w = size or (height, width)
    if n == 0:
        return x.new_empty(0, channels, out_h, out_w)
    place = torch.arange(n)
    if (
        flip is not None
    ):  # a mirrored window is a window of the mirrored image: put those last and mirror them
        order = flip.to(torch.uint8).argsort(stable=True)
        place[order] = torch.arange(n)
        left = torch.where(flip, width - out_w - left, left)
        x = x.index_select(0, order.to(x.device, non_blocking=True))
        plain = n - int(flip.sum())
        if plain < n:
            x[plain:] = x[plain:].flip(-1)
    above, before = max(0, -int(top.min())), max(0, -int(left.min()))
    below, behind = max(0, int(top.max()) + out_h - height), max(0, int(left.max()) + out_w - width)
    if above + below + before + behind:
        x = F.pad(x, (before, behind, above, below), value=fill)
        height, width = x.shape[-2:]
    # A row of the result is out_w neighbouring bytes somewhere in x: copy rows by where they start.
    flat = x.reshape(-1)
    first = ((place * channels * height + top + above) * width + left + before).to(
        x.device, non_blocking=True
    )
    rows = torch.arange(out_h, device=x.device) * width
    planes = torch.arange(channels, device=x.device) * (height * width)
    starts = first[:, None, None] + (planes[:, None] + rows)
    pieces = flat.as_strided((flat.numel() - out_w + 1, out_w), (1, 1))
    return pieces.index_select(0, starts.view(-1)).view(n, channels, out_h, out_w)


def _affine(x: Tensor, code: Tensor, m: Tensor, interpolation: str, fill: int) -> Tensor:
    """Shear about the top left corner or rotate about the centre (counter-clockwise), as torchvision does."""
    height, width = x.shape[-2:]
    # Output pixel (u, v), counted from the centre, comes from (a u + b v + c, d u + a v + e).
    shear_x, shear_y = m * (code == CODE["ShearX"]), m * (code == CODE["ShearY"])
    angle = (m * (code == CODE["Rotate"])).to(wide(m.device)) * (math.pi / 180)
    sin = angle.sin().float()
    coefficients = (
        angle.cos().float(),
        shear_x - sin,
        shear_x * (height / 2),
        shear_y + sin,
        shear_y * (width / 2),
    )
    a, b, c, d, e = torch.stack(coefficients)[:, :, None].to(x.device, non_blocking=True)  # (N, 1) each
    u = torch.arange(width, device=x.device) - (width - 1) / 2
    v = torch.arange(height, device=x.device) - (height - 1) / 2
    grid = x.new_empty(
        (len(m), 2, height, width), dtype=torch.float32
    )  # in grid_sample's units: half the image is 1
    for axis, (of_u, of_v, half) in enumerate(
        ((a * u + c, b * v, width / 2), (d * u + e, a * v, height / 2))
    ):
        torch.add((of_u / half)[:, None, :], (of_v / half)[:, :, None], out=grid[:, axis])
    values = x.float()
    if fill:  # what is outside is zero to grid_sample
        values -= fill
    y = F.grid_sample(values, grid.permute(0, 2, 3, 1), interpolation, "zeros", align_corners=False)
    if fill:
        y += fill
    return _grey_levels(y.round_())


def resized_window(
    x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, size: tuple[int, int]
) -> Tensor:
    """Cut (top, left, height, width) (CPU int64 (N,), pixels, inside it) out of each image, resize to `size`.

    Bilinear with antialiasing, columns first, rounding to grey levels between, as torchvision does. Each
    direction is one matrix product per image; weights are multiples of 1/4096, so that sums of products are
    exact in float32.
    """
    n, channels = x.shape[:2]
    across = _resize_weights(left, width, x.shape[3], size[1], x.device)  # (N, W', W)
    down = _resize_weights(top, height, x.shape[2], size[0], x.device)  # (N, H', H)
    y = torch.matmul(x.float(), across.transpose(1, 2)[:, None]).add_(0.5).floor_().clamp_(0, 255)
    y = torch.matmul(down[:, None], y).add_(0.5).floor_()
    return _grey_levels(y).to(torch.uint8).view(n, channels, *size)


def _resize_weights(start: Tensor, length: Tensor, full: int, out: int, device: torch.device) -> Tensor:
    """(N, out, full): the weight of each input pixel in each output pixel, [start, start + length) -> out."""
    start, length = (t.to(device, torch.float32, non_blocking=True)[:, None, None] for t in (start, length))
    scale = length / out
    reach = scale.clamp(min=1.0)  # enlarging: neighbours; shrinking: everything under the triangle
    centre = (torch.arange(out, device=device)[:, None] + 0.5) * scale
    pixel = torch.arange(full, device=device) - start
    weight = (1 - (pixel + 0.5 - centre).abs() / reach).clamp_(min=0)
    weight *= (pixel >= 0) & (pixel < length)
    return (weight / weight.sum(-1, keepdim=True) * 4096).round_() / 4096


def erase(
    x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, fill: tuple[int, ...] = (0,)
) -> Tensor:
    """Fill a rectangle of each image (CPU int64 (N,), pixels; may reach outside) with 1 or C grey levels."""
    top, left, bottom, right = (
        t.to(x.device, non_blocking=True) for t in (top, left, top + height, left + width)
    )
    v, u = torch.arange(x.shape[2], device=x.device), torch.arange(x.shape[3], device=x.device)
    rows = ((v >= top[:, None]) & (v < bottom[:, None])).to(torch.uint8)
    columns = ((u >= left[:, None]) & (u < right[:, None])).to(torch.uint8)
    inside = (rows[:, :, None] * columns[:, None, :])[:, None]  # (N, 1, H, W)
    y = x * (1 - inside)
    if any(fill):
        colour = torch.tensor(fill, dtype=torch.uint8).to(x.device, non_blocking=True)
        y += inside * colour.view(1, -1, 1, 1)
    return y


# --- colour


def _grey_levels(y: Tensor) -> Tensor:
    """float32 -> int16 in [0, 255], fractions dropped; what stores it makes it uint8. Changes y."""
    return y.clamp_(0, 255).to(torch.int16)


def _grey(values: Tensor) -> Tensor:
    """float32 (N, 3, H, W) -> (N, 1, H, W): the luma (ITU-R 601), fractions dropped."""
    y = values[:, 0] * 0.2989
    y += values[:, 1] * 0.587
    y += values[:, 2] * 0.114
    return y.floor_()[:, None]


def _column(m: Tensor) -> Tensor:
    return m[:, None, None, None]


def _brightness(x: Tensor, m: Tensor) -> Tensor:
    return _grey_levels(x.float().mul_(_column(1 + m)))


def _color(x: Tensor, m: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    values = x.float()
    toward = _grey(values).mul_(_column(-m))
    return _grey_levels(values.mul_(_column(1 + m)).add_(toward))


def _contrast(x: Tensor, m: Tensor) -> Tensor:
    values = x.float()
    grey = _grey(values) if x.shape[1] == 3 else values
    # sums of whole numbers: exact
    mean = grey.sum(-1).sum((-1, -2), dtype=wide(grey.device)) / grey[0].numel()
    return _grey_levels(values.mul_(_column(1 + m)).add_(_column(-m * mean.float())))


def _sharpness(x: Tensor, m: Tensor) -> Tensor:
    n, channels, height, width = x.shape
    if height <= 2 or width <= 2:
        return x
    # Along flattened images a 3x3 window is three windows of three, `width` apart. What wraps around an edge
    # only reaches border pixels, which stay as they are.
    flat = x.view(n, -1).to(torch.int16)
    rows = flat[:, : -2 * width] + flat[:, width:-width]
    rows += flat[:, 2 * width :]
    blur = rows[:, :-2] + rows[:, 1:-1]
    blur += rows[:, 2:]
    middle = flat[:, width + 1 : -width - 1]
    blur += middle * 4
    middle = middle.float()
    change = (
        blur.float().mul_(1 / 13).round_().sub_(middle)
    )  # a thirteenth is never half way: any rounding will do
    inside = F.pad(torch.ones(channels, height - 2, width - 2, device=x.device), (1, 1, 1, 1)).view(-1)
    change.mul_(-m[:, None]).mul_(inside[width + 1 : -width - 1])
    y = x.clone()
    y.view(n, -1)[:, width + 1 : -width - 1] = _grey_levels(change.add_(middle))
    return y


def _posterize(x: Tensor, m: Tensor) -> Tensor:
    keep = 256 - (1 << (8 - m.to(torch.int32)))
    return x & _column(keep.to(torch.uint8))


def _solarize(x: Tensor, m: Tensor) -> Tensor:
    below = _column(m.ceil().to(torch.int16) - 1)
    bright = (
        below - x.to(torch.int16)
    ) >> 15  # the sign bit everywhere: -1 where x is at or above the threshold
    return x ^ bright.to(torch.uint8)


def _auto_contrast(x: Tensor, _: Tensor) -> Tensor:
    planes = x.view(*x.shape[:2], -1)
    low, high = planes.amin(-1).float(), planes.amax(-1).float()
    flat = high == low
    low, scale = low.masked_fill(flat, 0), ((high - low) * (1 / 255)).masked_fill(flat, 1)
    return _grey_levels(planes.float().sub_(low[:, :, None]).div_(scale[:, :, None])).view_as(x)


def _equalize(x: Tensor, _: Tensor) -> Tensor:
    """Pillow's histogram equalisation of each channel: whole numbers throughout, floats included."""
    planes = x.reshape(-1, x.shape[2] * x.shape[3])
    index = planes.long()
    counts = torch.zeros(len(planes), 256, dtype=torch.int32, device=x.device)
    counts.scatter_add_(1, index, counts.new_ones(1).expand_as(index))
    brightest = counts.gather(1, planes.amax(1, keepdim=True).long())
    step = (planes.shape[1] - brightest).div_(255, rounding_mode="floor").float()
    below = counts.cumsum(1, dtype=torch.int32).sub_(counts).float()  # how many pixels are darker
    table = below.add_((step / 2).floor_()).div_(step.clamp(min=1)).floor_().clamp_(max=255)
    # A channel of too few greys (step 0) stays as it is.
    on = (step > 0).float()
    table = table.mul_(on).add_((1 - on) * torch.arange(256, device=x.device))
    return table.to(torch.int16).to(torch.uint8).gather(1, index).view_as(x)


def _hue(x: Tensor, m: Tensor) -> Tensor:
    """Turn the hue by m of a full circle, through hue, saturation and value."""
    if x.shape[1] == 1:
        return x
    r, g, b = x.float().div_(255).unbind(1)
    value, low = x.amax(1).float().div_(255), x.amin(1).float().div_(255)
    span = value - low
    safe = torch.where(span > 0, span, 1.0)
    hue = torch.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4)
    hue = torch.where(value == r, (g - b) / safe, hue) / 6
    hue = (hue + m[:, None, None]) * 6
    # Each channel is value - span * (how far the hue is from the channel's own third of the circle, from
    # 0 to 1).
    y = torch.empty_like(x, dtype=torch.float32)
    for channel, offset in enumerate((5.0, 3.0, 1.0)):
        k = torch.remainder(hue + offset, 6.0)
        y[:, channel] = value - span * torch.minimum(k, 4 - k).clamp_(0, 1)
    return _grey_levels(y.mul_(255.999))


_COLOUR = {
    "Brightness": _brightness, "Color": _color, "Contrast": _contrast, "Sharpness": _sharpness,
    "Posterize": _posterize, "Solarize": _solarize, "AutoContrast": _auto_contrast, "Equalize": _equalize,
    "Invert": lambda x, _: ~x, "Hue": _hue,
}  # fmt: skip
