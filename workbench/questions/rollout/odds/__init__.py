"""How often rollback rules err, simulated."""
