"""What a conversation takes beside its turns: its run, its settings, its branches, its files."""
