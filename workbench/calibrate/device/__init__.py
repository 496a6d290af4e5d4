"""A short measurement of a device, to which predictions are fitted."""
