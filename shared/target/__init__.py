"""What readers know: the tables and views under their names, their columns, and what others hung on them."""
