"""What a terminal shows: answers, sources, JSON, questions to the user."""
