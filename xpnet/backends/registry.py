"""Every backend by name; each is one file of this folder, imported only when it is named."""

#: The name of a backend -> the packages that its arrays' types come from.
ARRAY_PACKAGES = {
    "numpy": ("numpy",),
    "cupy": ("cupy",),
    "torch": ("torch",),
    "jax": ("jax", "jaxlib"),
    "strict": ("array_api_strict",),
    "dask": ("dask",),
}
