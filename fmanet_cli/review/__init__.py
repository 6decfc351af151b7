"""A film before, after and inside: what restoring it would bring, what it brought, and how the network saw it."""
