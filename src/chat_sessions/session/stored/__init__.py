"""What a session already holds: its turns, and how many they are."""
