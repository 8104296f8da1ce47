"""The networks, each a function from windows and prompts to expression."""
