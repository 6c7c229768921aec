"""A turn that its session already holds."""
