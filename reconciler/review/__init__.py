"""What a change of the specs means, in a reviewer's words: read `values`, then `review`. Pure: knows no git and no kernel."""
