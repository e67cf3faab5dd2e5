"""A backend as another package brings it, for the library ``boxes``; and some that are none."""

from __future__ import annotations

import boxes

from xpnet.backends.base import Backend


class BoxesBackend(Backend):
    name = "boxes"
    packages = ("boxes",)

    @classmethod
    def devices(cls):
        return ("shelf",)

    @staticmethod
    def to_host(x):
        return boxes.opened(x)


class WithoutDevices(Backend):
    name = "without"
    packages = ("boxes",)


class Misnamed(BoxesBackend):
    pass


class OnNumpy(BoxesBackend):
    name, packages = "onnumpy", ("numpy",)


class Unpacked(BoxesBackend):
    name, packages = "unpacked", "boxes"


class Missing(BoxesBackend):
    name, packages = "missing", ("a_library_that_is_not_there",)


class Failing(BoxesBackend):
    name = "failing"

    @classmethod
    def devices(cls):
        raise OSError("the shelf fell down")
