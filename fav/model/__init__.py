"""The style network: its layers, its files, and the devices and backends that run it.

architecture, network               the architecture string; the network that is built from it
preprocessing                       the input of the network
checkpoints, torch7, published      style files: all formats; Torch7; image models that others have published
onnx_style, onnx_fields             image models in ONNX
bundled_styles, interpolation       styles by name; mixtures of styles
devices, backends, runner           devices; PyTorch or OpenVINO; stylize a frame with a network on a device
"""
