"""What is asked of a Docker or Podman engine over its socket, and the files that it mounts into containers."""
