"""Reading what others may have written: bounded, checked, and refused without repeating its content."""
