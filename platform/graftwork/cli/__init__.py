"""The `graft` command. Subcommands that train or serve live in `graftwork_jobs` and `graftwork_serving`."""
