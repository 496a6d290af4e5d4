"""How far can a diagnosis be trusted? Faults with known causes on a real engine, and the methods that find them."""
