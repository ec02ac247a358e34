//! A peer of our own making that lies: it has the council's certificate and keys, and signs what it likes.

