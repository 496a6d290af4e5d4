"""One page for the person who signs: the plan, its settings, its cost beside an API's, energy and CO2, and what may go wrong."""
