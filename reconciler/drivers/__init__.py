"""One small module per network type: pure functions from a desired network to the objects that it is made of."""
