"""`make compliance`: the public compliance suite of openresponses over the deployed local cloud."""
