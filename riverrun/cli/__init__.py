"""The `riverrun` command, one module per group of subcommands."""
