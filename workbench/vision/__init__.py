"""Small networks that look at pictures of digits: trained here, compressed, fused with text, and run in ONNX Runtime."""
