"""What `graft doctor` looks at: `probe` reads the machine, `judge` says what that means."""
