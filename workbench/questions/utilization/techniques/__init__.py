"""What each technique that should raise the use of a device gains on this one."""
