"""From the candidates of all sources to one scored list."""
