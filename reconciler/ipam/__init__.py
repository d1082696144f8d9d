"""Choices that the specs leave open: pools, addresses, interface names, default routes. Pure; knows no store and no kernel."""
