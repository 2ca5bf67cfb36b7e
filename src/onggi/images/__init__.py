"""Images: layers, snapshots, names, transfer from and to registries, archives."""
