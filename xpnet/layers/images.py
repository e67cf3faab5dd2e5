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
    if x.ndim == 4:
        check_fits(layer, tuple(x.shape[1:]), channels, "x has images of shape")
        return
    wanted = f"expected images (N, {'C' if channels is None else channels}, H, W)"
    advice = ""
    if x.ndim == 3:
        advice = one_more_axis(tuple(x.shape), channels)
    elif x.ndim == 2:
        advice = "; make images of rows with Reshape or xp.reshape(x, (N, C, H, W))"
    elif x.ndim > 4:
        advice = "; it takes one axis of samples and one of channels, so put others in one of these"
    raise ValueError(f"{layer.label}: x has shape {tuple(x.shape)}, {wanted}{advice}")


def one_more_axis(shape: tuple[int, ...], channels: int | None) -> str:
    """What to do about an x (., ., .)."""
    if channels in (None, 1):
        return "; images without an axis of channels get it with x[:, None]"
    if channels == shape[0]:
        return "; one image is x[None, ...]"
    return ""


def check_fits(layer: Any, shape: tuple[int, ...], channels: int | None, what: str = "a sample of shape") -> None:
    """Raise ``ValueError`` unless a sample is (C, H, W), has the channels, and at least the kernel's size."""
    c = "C" if channels is None else channels
    if len(shape) != 3:
        advice = ""
        if len(shape) == 2 and channels in (None, 1):
            advice = "; images without an axis of channels get it with x[:, None]"
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
