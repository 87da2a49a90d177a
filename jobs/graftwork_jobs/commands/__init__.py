"""The parts of the `graft` command that train: `plan`, `run`, `jobs`. They only parse, call and print."""
