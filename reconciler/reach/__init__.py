"""Who reaches whom, from the desired state alone: read `values`, then `walk`. Knows no kernel and no firewall's text."""
