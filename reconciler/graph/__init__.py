"""What there is on hosts, as a picture: `topology` is the value, one module writes each form of it. Pure."""
