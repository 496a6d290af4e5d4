"""Fusion of images with captions: missing modalities, routing, precision by tower, and two threads."""
