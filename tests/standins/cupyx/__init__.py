"""The stand-in's companion; see ``cupy``."""
