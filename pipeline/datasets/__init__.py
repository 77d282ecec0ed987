"""Where images and labels come from: a module per source, and `prepare` over them."""
