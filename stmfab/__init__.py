"""stmfab: a factory for labelled, synthetic scanning-tunnelling-microscope datasets."""
