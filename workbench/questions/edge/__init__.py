"""What helps on a small device: measured compressions of a model, and the setting to run one with."""
