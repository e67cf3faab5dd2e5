"""Kernels of the stand-in: C++ in the part of it that xpnet writes, computed by NumPy.

A line of it declares a variable, ``float v0 = float(x0 + x1);``, or writes a result, ``y0 = v0;``. The right-hand side
is an expression that C++ and Python read alike: one operator or function, where a type as a function casts. Types that
C++ has not are looked up in the preamble, and so is whether a function of it is there.
"""

import re

import numpy as np

from cupy._arrays import check_here, launch, ndarray
from cupy.cuda import get_current_stream

#: What types are, of C++ and of CuPy.
TYPES = {
    "bool": "bool",
    "char": "int8",
    "short": "int16",
    "int": "int32",
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "signed char": "int8",
    "unsigned char": "uint8",
    "unsigned short": "uint16",
    "unsigned int": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
}
#: Functions of CUDA.
CUDA = {"fabs": np.abs, "pow": np.power}
CUDA |= {f.__name__: f for f in (np.ceil, np.cos, np.exp, np.expm1, np.floor, np.isfinite, np.isinf, np.log, np.log1p)}
CUDA |= {f.__name__: f for f in (np.sin, np.sqrt, np.tanh)}
#: What functions of a preamble compute.
OWN = {
    "larger": np.maximum,
    "smaller": np.minimum,
    "sign_of": np.sign,
    "pick": np.where,
}
LINE = re.compile(r"(?:(\w+) )?(\w+) = ([^;]+);")


class ElementwiseKernel:
    def __init__(
        self, in_params, out_params, operation, name="kernel", reduce_dims=True, preamble="", no_return=False, **options
    ):
        if unknown := options.keys() - {"options", "loop_prep", "after_loop", "return_tuple"}:
            raise TypeError(f"got an unexpected keyword argument {unknown.pop()!r}")
        self.name, self.no_return, self.new = name, no_return, True
        self.inputs, self.outputs = (_parameters(text) for text in (in_params, out_params))
        types = TYPES | {new: TYPES[old] for old, new in re.findall(r"typedef ([\w ]+) (\w+);", preamble)}
        self.functions = {kind: _cast(dtype) for kind, dtype in types.items() if " " not in kind} | CUDA
        self.functions |= {n: f for n, f in OWN.items() if re.search(rf"\b{n}\(", preamble)}
        self.lines = [self._line(text) for text in operation.split("\n")]

    def _line(self, text):
        found = LINE.fullmatch(text)
        if not found:
            raise SyntaxError(f"the stand-in does not know this line of C++: {text!r}")
        kind, name, expression = found.groups()
        return kind, name, compile(expression, self.name, "eval")

    def __call__(self, *args):
        if len(args) != len(self.inputs) + len(self.outputs):
            raise TypeError(f"Wrong number of arguments for {self.name!r}")
        given = dict(zip([*self.inputs, *self.outputs], args, strict=True))
        for name, x in given.items():
            wanted = (self.inputs | self.outputs)[name]
            if name in self.outputs and not isinstance(x, ndarray):
                raise TypeError("Output arguments type must be cupy.ndarray")
            if x.dtype != wanted:
                raise TypeError(f"Type is mismatched. {name} {x.dtype} {wanted}")
        arrays = [x for x in args if isinstance(x, ndarray)]
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
        if any(given[name].shape != shape for name in self.outputs):
            raise ValueError("Out shape is mismatched")
        check_here(*arrays)
        if self.new and get_current_stream().is_capturing():
            raise RuntimeError("the stand-in's: a kernel is compiled at its first launch, which breaks a capture")
        self.new = False
        memory = {name: x._memory if isinstance(x, ndarray) else x for name, x in given.items()}
        launch("kernel", lambda: self._run(memory), arrays)

    def _run(self, given):
        names = {name: given[name] for name in self.inputs}
        with np.errstate(all="ignore"):
            for kind, name, expression in self.lines:
                value = eval(expression, {"__builtins__": {}} | self.functions, names)
                if kind is None:
                    given[name][...] = value
                else:
                    names[name] = self.functions[kind](value)


def _parameters(text):
    return {name: np.dtype(kind) for kind, name in (each.split() for each in text.split(",") if each)}


def _cast(dtype):
    return lambda x: np.array(x).astype(dtype)
