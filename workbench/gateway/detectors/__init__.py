"""Detectors of personal data and secrets: a scan in linear time proposes places, and check digits and the field's libraries judge them."""
