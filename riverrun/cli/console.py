"""Where commands write: results to standard output, everything about them to standard error."""

from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def next_command(command: str, purpose: str) -> None:
    """Print the command that a person most likely wants next."""
    err.print(f"[dim]next:[/] [bold]{command}[/]  [dim]{purpose}[/]")
