"""One video restored, or many: reader, network and writer joined, with a journal and a report."""
