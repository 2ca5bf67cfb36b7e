"""Networks: links, addresses, nftables, sandboxes."""
