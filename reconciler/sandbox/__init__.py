"""What a sandbox has beside its interfaces: the namespace itself, loopback, sysctls, /etc/hosts and /etc/resolv.conf. Pure."""
