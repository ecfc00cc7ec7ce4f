"""`python -m riverrun` is the `riverrun` command."""

from riverrun.cli.main import main

main()
