"""What stands between a mistake and an outage: refusals, suspensions, the last good specs and the way back to them."""
