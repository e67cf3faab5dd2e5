"""What layers that slide over images ask of their input, and how many places they find in it."""

from __future__ import annotations

from typing import Any

from xpnet._typing import Array
from xpnet.layers.windows import pair


def windows_along(layer: Any, shape: tuple[int, ...]) -> tuple[int, int]:
    """H' and W' for a sample (C, H, W)."""
    (kh, kw), (sh, sw), (ph, pw) = pair(layer.kernel_size), pair(layer.stride), pair(layer.padding)
    dh, dw = pair(getattr(layer, "dilation", 1))
    _, h, w = shape
    return (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1


def check_images(layer: Any, x: Array, channels: int | None = None) -> None:
    """Raise ``ValueError`` unless x is (N, C, H, W) and fits."""
    shape = tuple(x.shape)
    if x.ndim == 4:
        check_fits(layer, shape[1:], channels, "x has images of shape")
        return
    advice = more_or_fewer_axes(x.ndim - 1, channels)
    if x.ndim == 3 and channels == shape[0]:
        advice = f"; one image is x[None, ...]{advice.replace('; images', ', images')}"
    c = "C" if channels is None else channels
    raise ValueError(f"{layer.label}: x has shape {shape}, expected images (N, {c}, H, W){advice}")


def more_or_fewer_axes(found: int, channels: int | None) -> str:
    """What to do about samples of so many axes, which are not three."""
    if found == 2:
        return "; images without an axis of channels get it with x[:, None]" if channels in (None, 1) else ""
    if found < 2:
        return "; make images of rows with Reshape or xp.reshape(x, (N, C, H, W))"
    return "; it takes one axis of samples and one of channels, so put others in one of these"


def check_fits(layer: Any, shape: tuple[int, ...], channels: int | None, what: str = "a sample of shape") -> None:
    """Raise ``ValueError`` unless a sample is (C, H, W), has the channels, and at least the kernel's size."""
    c = "C" if channels is None else channels
    if len(shape) != 3:
        advice = more_or_fewer_axes(len(shape), channels)
        raise ValueError(f"{layer.label}: {what} {shape} does not fit, expected ({c}, H, W){advice}")
    if channels is not None and shape[0] != channels:
        advice = ""
        if shape[2] == channels:
            advice = (
                "; its last axis looks like that of the channels, which come first here: "
                "xp.permute_dims(x, (0, 3, 1, 2))"
            )
        found, wanted = counted(shape[0]), counted(channels)
        raise ValueError(f"{layer.label}: {what} {shape}, with {found}; expected {wanted}: ({c}, H, W){advice}")
    if min(windows_along(layer, shape)) < 1:
        (kh, kw), (ph, pw), (dh, dw) = pair(layer.kernel_size), pair(layer.padding), pair(getattr(layer, "dilation", 1))
        kernel = f"the kernel of {kh} by {kw}"
        if (dh, dw) != (1, 1):
            kernel += f", which is {dh * (kh - 1) + 1} by {dw * (kw - 1) + 1} with its dilation,"
        image = f"an image of {shape[1]} by {shape[2]}"
        if (ph, pw) != (0, 0):
            image += f", {shape[1] + 2 * ph} by {shape[2] + 2 * pw} with its padding"
        raise ValueError(f"{layer.label}: {kernel} does not fit into {image}; take larger images or a smaller kernel")


def check_groups(layer: Any) -> None:
    """Raise ``ValueError`` unless both numbers of channels fall into the groups."""
    for name in ("in_channels", "out_channels"):
        if getattr(layer, name) % layer.groups:
            raise ValueError(
                f"{type(layer).__name__}: {name} is {getattr(layer, name)}, expected a multiple of groups, "
                f"{layer.groups}"
            )


def counted(channels: int) -> str:
    return "1 channel" if channels == 1 else f"{channels} channels"
