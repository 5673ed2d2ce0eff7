"""Voice identity, measured: streams, CPU, gallery, accuracy, start-up."""
