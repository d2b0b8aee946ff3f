"""How the models that einthoven ships were made: from recordings to ONNX, manifest and figures."""
