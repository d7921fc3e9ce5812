"""Changes as frames, and the content that goes into them."""
