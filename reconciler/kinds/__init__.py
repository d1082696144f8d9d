"""What is known of each kind of object besides its value: how it is seen, made, changed and removed, one module for each."""
