"""From two sets of objects, wanted and seen, to the operations between them. Pure, once for every driver."""
