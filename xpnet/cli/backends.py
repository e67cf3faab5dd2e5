"""``xpnet backends``: which array libraries can be used here."""

from __future__ import annotations

import click

from xpnet.backend import backend_names, backend_status


@click.command(short_help="Show which array libraries can be used here.")
def backends() -> None:
    """Show every backend: its version, its devices, and why it cannot be used here."""
    from tabulate import tabulate

    rows = []
    for name in backend_names():
        s = backend_status(name)
        rows.append([name, s.version or "not installed", "\n".join(s.devices) or "-", s.problem or "yes"])
    headers = ["backend", "version", "devices", "can be used here"]
    click.echo(tabulate(rows, headers, tablefmt="simple", maxcolwidths=[None, None, None, 64], disable_numparse=True))
