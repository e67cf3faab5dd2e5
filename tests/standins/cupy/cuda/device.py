"""Where array-api-compat looks for it."""

from cupy.cuda import Device  # noqa: F401
