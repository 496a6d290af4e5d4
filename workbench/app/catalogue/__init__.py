"""The commands that list, add and check devices, models and prices."""
