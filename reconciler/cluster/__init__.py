"""What hosts tell each other through the cluster's store: records, how they are read, who tidies up. Pure."""
