"""The programs that run a model, behind one interface: TensorFlow, ONNX Runtime, LiteRT."""
