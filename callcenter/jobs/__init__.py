"""Work that a change causes and that is done after it: a row in the same transaction, carried out until it is done."""
