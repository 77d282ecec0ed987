"""Write a model for other programs: ONNX, timm and transformers, TorchScript."""
