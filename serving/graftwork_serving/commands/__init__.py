"""Subcommands of `graft` that serve. `graftwork.cli.main` imports them when they are called."""
