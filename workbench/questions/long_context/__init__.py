"""How long a context can be served: planned for any device, measured on this one."""
