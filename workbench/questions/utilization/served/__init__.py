"""Measured use of the device by a served model, with each technique of its engine and without it."""
