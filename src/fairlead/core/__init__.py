"""Pure decisions: what the tables should hold, and by which steps they get there. Nothing here does IO or reads a clock."""
