"""Where characters come from, and the tasks cut out of them."""
