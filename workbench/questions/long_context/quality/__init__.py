"""Whether a model still finds things in a long text, under attention techniques and cache formats."""
