"""The long runs: what the check looks at in thousands, in hundreds of thousands."""
