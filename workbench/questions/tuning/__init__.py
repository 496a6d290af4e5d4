"""Which settings for my load, and whether a trick pays: speculation, caches, a split, adapters, structured output."""
