"""Ways to run the application: in one process, in several workers, or in a thread of the caller's process."""
