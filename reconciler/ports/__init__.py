"""Published ports and links: which host port leads to which sandbox, chosen purely. What is chosen stands in the desired state."""
