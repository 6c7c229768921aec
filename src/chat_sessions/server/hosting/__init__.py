"""Ways to run the application: in one process, in several workers, or in a thread beside the caller."""
