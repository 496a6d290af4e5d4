"""How a new version reaches all users step by step, and how a degraded one is rolled back."""
