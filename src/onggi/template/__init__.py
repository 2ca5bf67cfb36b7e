"""Go templates as Docker's --format takes them."""
