"""What people and scripts are told about the host: inspect-style documents and a summary, written only when they change."""
