"""What may be pulled: a project's trusted keys and rules, and the gate that holds every pull against them."""
