"""Files on disk as pages and passages, and the indexes that find them."""
