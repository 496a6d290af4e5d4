"""What structured output costs, and which share of the answers it makes valid, against plain answers."""
