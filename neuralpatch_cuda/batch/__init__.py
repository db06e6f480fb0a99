"""Many photographs: which mask belongs to which, what is done already, and who does the rest."""
