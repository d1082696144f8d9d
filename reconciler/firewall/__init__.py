"""The firewall as values: constant rules, and everything variable as elements of their sets and maps. Pure."""
