"""Single operations of a device, timed by themselves."""
