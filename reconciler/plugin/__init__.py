"""Network plugins of others: where they are found, how they are spoken to, what is remembered of what they answered."""
