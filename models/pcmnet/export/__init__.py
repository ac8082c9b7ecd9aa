"""From trained modules to a bundle: ONNX graphs, the manifest, the comparison with PyTorch."""
