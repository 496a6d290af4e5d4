"""Small networks that look at images of digits: trained here, compressed, fused with text, and run in ONNX Runtime."""
