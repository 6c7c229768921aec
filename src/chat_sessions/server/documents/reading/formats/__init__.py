"""One module for each family of files, loaded where a file of it is read."""
