"""Published claims about precision, compared with all measurements of them."""
