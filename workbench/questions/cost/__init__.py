"""What a load costs, and what would make it cheaper."""
