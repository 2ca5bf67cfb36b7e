"""The content store: blobs by digest, verified before they get a name."""
