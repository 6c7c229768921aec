"""Turns as they happen: who runs them, and what each open page has been sent of them."""
