"""Networks built from Darknet's ``.cfg`` files: what the files say, their layers, detectors and classifiers."""
