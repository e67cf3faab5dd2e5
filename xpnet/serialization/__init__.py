"""Files that are whole or not there: arrays, networks, and what they are made of."""
