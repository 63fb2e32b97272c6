"""From nothing to tokens, and what comes after, in a local cloud that is a new account."""
