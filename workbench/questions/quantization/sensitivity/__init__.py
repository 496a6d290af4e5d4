"""Which layer gets how many bits, by the damage of each format in each layer."""
