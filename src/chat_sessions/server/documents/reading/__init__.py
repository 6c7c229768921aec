"""What turns the bytes of a file into pages and passages. Runs in processes of its own, and imports nothing above."""
